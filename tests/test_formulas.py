"""Each objective's terms, against its paper's formula written out on a small trace."""

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch

import tiny
from vaekit.affine import moved
from vaekit.codebooks import VectorQuantized
from vaekit.conditional import Supposed
from vaekit.distributions import Gaussian
from vaekit.nets.judge import Judge
from vaekit.objectives import (
    AAE,
    GECO,
    RAEGP,
    RAEL2,
    VAEGAN,
    WAEGAN,
    WAEMMD,
    BetaTCVAE,
    Consistency,
    FactorVAE,
    InfoVAE,
    KLAutoencoder,
    Perceptual,
    Quantized,
    SemiSupervised,
    Structural,
)
from vaekit.objectives.adversarial import shuffled
from vaekit.objectives.consistency import Pair
from vaekit.objectives.rae import Weighed
from vaekit.objectives.vaegan import Staged
from vaekit.posteriors import draw
from vaekit.ssim import ms_ssim
from vaekit.terms import jacobian_norm, stratified
from vaekit.trace import At, Group, Trace

F64, NOW = torch.float64, At(0)
LATENT, IMAGE = 3, (1, 8, 8)
VALUES, SIGMA = math.prod(IMAGE), 0.5


def trace(batch: int = 5, samples: int = 1, seed: int = 0) -> Trace:
    """Random codes, and pictures that are decoded from them by a random matrix."""
    torch.manual_seed(seed)
    mu, log_var = torch.randn(2, batch, LATENT, dtype=F64).requires_grad_()
    decoder, x = torch.randn(LATENT, VALUES, dtype=F64), torch.rand(batch, *IMAGE, dtype=F64)
    q, zero = Gaussian(mu, log_var), torch.zeros(LATENT, dtype=F64)
    z, log_q = draw(q, samples)
    mean = (z @ decoder).sigmoid().unflatten(-1, IMAGE)
    return Trace(x, (Group(q, Gaussian(zero, zero), z, log_q),), Gaussian(mean, zero[0] + 2 * math.log(SIGMA), 3))


def kl(t: Trace, other: Trace | None = None) -> torch.Tensor:
    """KL(q(z | x) || N(0, 1)), or || q(z | x) of the other trace."""
    mu, var = t.group.q.loc, t.group.q.log_var.exp()
    mu_p, var_p = (other.group.q.loc, other.group.q.log_var.exp()) if other else (0.0, torch.ones((), dtype=F64))
    return ((var + (mu - mu_p) ** 2) / var_p - 1 - (var / var_p).log()).sum(1) / 2


def off(t: Trace) -> torch.Tensor:
    """|x - x'|^2"""
    return (t.px.mean - t.x).square().flatten(2).sum(2).mean(0)


def nats(t: Trace) -> torch.Tensor:
    """-log p(x | z)"""
    return off(t) / (2 * SIGMA**2) + VALUES / 2 * math.log(2 * math.pi * SIGMA**2)


def says(critic, given) -> torch.Tensor:
    """The probability that a critic gives."""
    return critic(given).sigmoid()


def small_judge() -> Judge:
    torch.manual_seed(1)
    return Judge(image=IMAGE, features=8, width=4).double()


def seen(judge: Judge, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """sum_l |phi_l(x) - phi_l(x')|^2 / places, every place's features of length 1."""
    pairs = zip(judge.layers(x), judge.layers(other), strict=True)
    return sum((a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)).square().sum(1).mean((1, 2)) for a, b in pairs)


# Weighed sums


def test_geco_is_the_rate_and_lambda_times_what_the_error_exceeds():
    t, objective = trace(samples=2), GECO(rmse=0.3).double()
    objective.log_weight.fill_(math.log(7))
    torch.testing.assert_close(objective(t, NOW), {"rate": kl(t), "constraint": 7 * (off(t) - VALUES * 0.3**2)})


@pytest.mark.parametrize("kind", [RAEL2, RAEGP])
def test_a_regularised_autoencoder_pays_for_its_codes_and_its_decoder(kind):
    t = trace(samples=2)
    t = Weighed(t.x, t.groups, t.px, torch.tensor(11.0, dtype=F64))
    torch.manual_seed(2)
    found = kind(beta=0.3, **{"shrink": 7.0} if kind is RAEL2 else {"gamma": 7.0})(t, NOW)
    torch.manual_seed(2)
    smooth = {"weights": torch.full((5,), 77.0, dtype=F64)} if kind is RAEL2 else {"jacobian": 7 * jacobian_norm(t)}
    code = 0.3 * t.group.z.square().sum(2).mean(0) / 2
    torch.testing.assert_close(found, {"squares": off(t), "code": code} | smooth)


def test_the_weights_that_a_regularised_autoencoder_pays_for_are_its_decoders():
    model = tiny.model(IMAGE)
    t = RAEL2().look(model, torch.rand(2, *IMAGE))
    torch.testing.assert_close(t.weights, torch.cat([p.flatten() for p in model.decoder.parameters()]).square().sum())


def test_structural_similarity_is_what_lacks_to_one():
    t = trace(samples=2)
    apart = torch.stack([1 - ms_ssim(t.x, rebuilt) for rebuilt in t.px.mean]).mean(0)
    torch.testing.assert_close(Structural(weight=7.0)(t, NOW), {"structure": 7 * apart, "rate": kl(t)})


def test_a_perceptual_error_is_that_of_features_and_of_pixels():
    t, judge = trace(), small_judge()
    expected = {"features": 7 * seen(judge, t.x, t.px.mean[0]), "pixels": 11 * off(t) / VALUES, "rate": kl(t)}
    torch.testing.assert_close(Perceptual(judge=judge, weight=7.0, pixels=11.0)(t, NOW), expected)


def test_codes_of_codebooks_pay_for_how_far_the_encoder_is_from_them():
    """Lee et al. (2022), eq. 7: the mean over the first entry, and the sum of two."""
    t, q, cost = trace(), [], 0.0
    for seed in (0, 1):
        torch.manual_seed(seed)
        coder = VectorQuantized(features=4, latent=LATENT, size=5, depth=2, commitment=0.3).double()
        q.append(coder(torch.randn(5, 4, dtype=F64)))
        chosen = 0.0
        for book in coder.books:
            chosen = chosen + book[torch.cdist(q[-1].before - chosen, book).argmin(1)]
            cost = cost + 0.3 / 2 * (q[-1].before - chosen).square().sum(1)
    t = replace(t, groups=tuple(Group(each, None, each.z[None], t.group.log_q) for each in q))
    torch.testing.assert_close(Quantized()(t, NOW), {"distortion": nats(t), "commitment": cost})


def test_consistency_asks_the_moved_pictures_code_to_be_that_of_the_picture():
    """KL(q(z | x~) || q(z | x)), which is not that of the two the other way round."""
    t, other = trace(seed=0), trace(seed=1)
    found = Consistency(weight=7.0)(Pair(t.x, t.groups, t.px, other), NOW)
    both = {"distortion": (nats(t) + nats(other)) / 2, "rate": (kl(t) + kl(other)) / 2}
    torch.testing.assert_close(found, both | {"consistency": 7 * kl(other, t)})


def test_consistency_moves_the_second_look_and_not_the_first():
    model, x = tiny.model(IMAGE), torch.from_numpy(tiny.pictures(3)) / 255
    torch.manual_seed(0)
    model(x)
    copy = moved(x, 15.0, 0.1, 0.1)
    torch.manual_seed(0)
    t = Consistency().look(model, x)
    assert not torch.allclose(copy, x, atol=0.1)
    for its, pictures in ((t, x), (t.moved, copy)):
        assert torch.equal(its.x, pictures)
        torch.testing.assert_close(its.group.q.mean, model(pictures).group.q.mean)


# The aggregate posterior

KERNELS = {
    "imq": lambda d: sum(2 * LATENT * s / (2 * LATENT * s + d) for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)),  # as in WAE's code
    "rbf": lambda d: math.exp(-d / LATENT**2),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", [InfoVAE, WAEMMD])
def test_the_discrepancy_is_weighed_and_that_of_all_pairs(kind, kernel):
    """Gretton et al. (2012), eq. 3: no code is compared with itself; of codes and draws of the prior every pair counts."""
    t = trace(batch=6, samples=2)
    torch.manual_seed(3)
    found = kind(weight=7.0, kernel=kernel, **{"alpha": 0.25} if kind is InfoVAE else {})(t, NOW)
    torch.manual_seed(3)
    z, p = t.group.z[0], t.group.prior.sample((6,))

    def k(a, b) -> float:
        return KERNELS[kernel]((a - b).square().sum().item())

    own = sum(k(s[i], s[j]) for s in (z, p) for i in range(6) for j in range(6) if i != j) / 30
    mmd = {"mmd": torch.full((6,), 7 * (own - 2 * sum(k(a, b) for a in z for b in p) / 36), dtype=F64)}
    rest = {"distortion": nats(t), "rate": 0.75 * kl(t)} if kind is InfoVAE else {"squares": off(t)}
    torch.testing.assert_close(found, rest | mmd)


def test_a_stratified_sample_estimates_the_aggregate_without_bias():
    """Of 7 images every ordered batch of 3, and in it every place."""
    torch.manual_seed(0)
    density = torch.rand(7, 7, dtype=F64)  # q(z_i | x_j)
    batches = torch.tensor(list(permutations(range(7), 3)))
    weights = stratified(3, 7, density).exp()
    for row in range(3):
        found = (weights[row] * density[batches[:, row, None], batches]).sum(1)
        for image in range(7):
            torch.testing.assert_close(found[batches[:, row] == image].mean(), density[image].mean())


def test_the_parts_of_the_rate_are_what_the_stratified_densities_say():
    """Chen et al. (2018), eq. 2 and 4, with 4 of 20 images."""
    t = trace(batch=4)
    weights, (mu, std) = stratified(4, 20, t.x).exp(), (t.group.q.loc, t.group.q.stddev)
    each = torch.distributions.Normal(mu, std).log_prob(t.group.z[0][:, None]).exp()  # q(z_d of i | x_j), (4, 4, D)
    own, joint = each.diagonal().T.prod(1).log(), (weights * each.prod(2)).sum(1).log()
    product = (weights[..., None] * each).sum(1).log().sum(1)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(t.group.z[0]).sum(1)
    parts = {"mi": 3 * (own - joint), "tc": 7 * (joint - product), "dimension_kl": 11 * (product - log_p)}
    found = BetaTCVAE(alpha=3.0, beta=7.0, gamma=11.0)(t, At(0, 20))
    torch.testing.assert_close(found, {"distortion": nats(t)} | parts)


# Critics of codes


def lesson(critic, ones: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
    return -(says(critic, ones).log() + (1 - says(critic, zeros)).log()) / 2


def test_factor_vae_pays_for_the_total_correlation_that_its_critic_learns_to_see():
    """Kim & Mnih (2018), eq. 2 and 3, and algorithm 1: codes are to be 1, shuffled ones 0."""
    t, objective = trace(), FactorVAE(latent=LATENT, width=8, depth=1, gamma=7.0).double()
    z = t.group.z[0]
    torch.manual_seed(3)
    found = objective(t, NOW)
    torch.manual_seed(3)
    taught = lesson(objective.critic, z, shuffled(z))
    correlation = says(objective.critic, z).logit()
    torch.testing.assert_close(found, {"distortion": nats(t), "rate": kl(t), "tc": 7 * correlation, "critic": taught})


@pytest.mark.parametrize("kind", [AAE, WAEGAN])
def test_codes_are_to_pass_for_the_priors_draws_which_the_critic_learns_to_tell(kind):
    """Tolstikhin et al. (2018), algorithm 1: draws of the prior are to be 1, codes 0, and codes are moved to where it says 1."""
    t, objective = trace(), kind(latent=LATENT, width=8, depth=1, weight=7.0).double()
    z = t.group.z[0]
    torch.manual_seed(3)
    found = objective(t, NOW)
    torch.manual_seed(3)
    taught = lesson(objective.critic, t.group.prior.sample((5,)), z)
    rest = {"distortion": nats(t)} if kind is AAE else {"squares": off(t)}
    torch.testing.assert_close(found, rest | {"fooling": -7 * says(objective.critic, z).log(), "critic": taught})


# Critics of pictures


@pytest.mark.parametrize(("margin", "taught"), [(1.3, 1), (1.5, 0)])
def test_vae_gan_is_rate_likeness_fooling_and_a_lesson_until_it_is_learned(margin, taught):
    """Larsen et al. (2016), eq. 6 to 8: pictures are to be 1, fakes 0, and fakes are moved to where it says 1."""
    t, objective = trace(), VAEGAN(image=IMAGE, likeness=3.0, fooling=7.0, margin=margin)
    t = Staged(t.x, t.groups, t.px, tuple(torch.rand(2, 5, *IMAGE, dtype=F64)))
    judge = objective.judge = small_judge()

    def real(pictures) -> torch.Tensor:
        return judge(pictures)[1][:, 0].sigmoid()

    expected = {
        "rate": kl(t),
        "likeness": 3 * VALUES * seen(judge, t.x, t.px.mean[0]),
        "fooling": -7 * sum(real(fake).log() for fake in t.fakes) / 2,
        "critic": -taught * (real(t.x).log() + sum((1 - real(fake)).log() for fake in t.fakes) / 2),
    }
    torch.testing.assert_close(objective(t, NOW), expected)


def test_the_fakes_of_vae_gan_are_reconstructions_and_dreams_and_teach_the_decoder_alone():
    model, objective = tiny.model(IMAGE), VAEGAN(image=IMAGE)
    found = []
    for x in torch.rand(2, 4, *IMAGE):
        torch.manual_seed(0)
        found.append(objective.look(model, x))
    for t in found:
        torch.testing.assert_close(t.fakes[0], t.px.mean[0])
    assert torch.equal(found[0].fakes[1], found[1].fakes[1])  # whatever the pictures are
    assert not torch.allclose(found[0].fakes[0], found[0].fakes[1])
    objective(found[0], NOW)["fooling"].sum().backward()
    assert all(p.grad is None for part in (model.encoder, model.posterior) for p in part.parameters())
    assert any(p.grad.any() for p in model.decoder.parameters())


@pytest.mark.parametrize(("start", "on"), [(10, 1), (11, 0)])
def test_the_autoencoder_of_a_latent_diffusion_weighs_pixels_features_critic_and_rate(start, on):
    """Rombach et al. (2022), eq. 25, with the hinge: patches of pictures are to be above 1, those of reconstructions below -1."""
    t, judge = trace(), small_judge()
    given = {"features": 3.0, "fooling": 7.0, "weight": 11.0, "start": start}
    objective = KLAutoencoder(image=IMAGE, judge=judge, **given).double()
    objective.critic.layers[-1].weight.data.mul_(100)
    rebuilt = t.px.mean[0]
    real, false = objective.critic(t.x), objective.critic(rebuilt)
    expected = {
        "pixels": (t.x - rebuilt).abs().flatten(1).sum(1),
        "rate": 11 * kl(t),
        "fooling": -on * VALUES * 7 * false.flatten(1).mean(1),
        "critic": on * ((1 - real).clamp_min(0) + (1 + false).clamp_min(0)).flatten(1).mean(1),
        "features": VALUES * 3 * seen(judge, t.x, rebuilt),
    }
    assert real.max() > 1 > -1 > false.min()
    torch.testing.assert_close(objective(t, At(10)), expected)


# Labels that are not known


def test_m2_is_the_bound_with_the_label_where_it_is_known_and_over_all_where_it_is_not():
    """Kingma et al. (2014), eq. 6 to 9: U(x) = sum_y q(y | x) L(x, y) - H(q(y | x)), with log p(y) = -log 3 in every L."""
    t, each = trace(batch=4, seed=0), trace(batch=12, seed=1)
    log_q = torch.randn(4, 3, dtype=F64).log_softmax(1)
    c = torch.tensor([[0, 1, 0], [torch.nan] * 3, [1, 0, 0], [torch.nan] * 3], dtype=F64)
    objective = SemiSupervised(image=IMAGE, labels=3, weight=7.0)
    found = objective(Supposed(t.x, t.groups, t.px, c, log_q, each, share=0.2), At(0, epoch=10, known=2))
    bound = (nats(each) + kl(each) - math.log(1 / 3)).view(4, 3)
    entropy = torch.distributions.Categorical(logits=log_q).entropy()
    over_all = (log_q.exp() * bound).sum(1) - entropy
    assert entropy.min() > 0.1
    often = torch.tensor([0.16, 0.84, 0.16, 0.84], dtype=F64) / 0.5  # 0.8 * 2 / 10 have a label, and here half
    expected = {
        "bound": 0.8 * often * torch.stack([bound[0, 1], over_all[1], bound[2, 0], over_all[3]]),
        "known": 0.2 * often * (nats(t) + kl(t)),
        "classification": -7 / 0.5 * torch.stack([log_q[0, 1], log_q.new_zeros(()), log_q[2, 0], log_q.new_zeros(())]),
    }
    torch.testing.assert_close(found, expected)
