"""Each objective is what its paper says."""

import math

import pytest
import torch

from vaekit.affine import moved
from vaekit.distributions import Gaussian
from vaekit.errors import UsageError
from vaekit.likelihoods import FixedGaussian
from vaekit.objectives import (
    AAE,
    CIWAE,
    DIPVAE,
    ELBO,
    GECO,
    IWAE,
    MIWAE,
    PIWAE,
    RAEGP,
    STL,
    WAEMMD,
    BetaTCVAE,
    Capacity,
    Consistency,
    DReG,
    FactorVAE,
    InfoVAE,
    Objective,
)
from vaekit.objectives.adversarial import shuffled
from vaekit.posteriors import draw
from vaekit.schedules import Linear
from vaekit.terms import decomposed_rate, jacobian_norm, log_weights, mmd, rate, stratified
from vaekit.trace import At, Group, Trace

F64, NOW = torch.float64, At(0)
LATENT, PIXELS = 3, 4


class Least(torch.nn.Module):
    """The least VAE whose encoder and decoder have weights: mu = x E, log_var = e, mean of x = z D."""

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = torch.nn.Parameter(torch.randn(PIXELS, LATENT, dtype=F64) / 2)
        self.log_var = torch.nn.Parameter(torch.randn(LATENT, dtype=F64) / 2)
        self.decoder = torch.nn.Parameter(torch.randn(LATENT, PIXELS, dtype=F64) / 2)

    def forward(self, x: torch.Tensor, samples: int, c: torch.Tensor | None = None, seed: int = 0) -> Trace:
        q = Gaussian(x.flatten(1) @ self.encoder, self.log_var.expand(len(x), -1))
        torch.manual_seed(seed)
        z, log_q = draw(q, samples)
        zero = torch.zeros(LATENT, dtype=F64)
        return Trace(x, (Group(q, Gaussian(zero, zero), z, log_q),), self.decode(z))

    def decode(self, z: torch.Tensor, c: torch.Tensor | None = None) -> Gaussian:
        return Gaussian((z @ self.decoder)[:, :, None, None, :], torch.full((), math.log(0.25), dtype=F64), dims=3)


def images(count: int, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.rand(count, 1, 1, PIXELS, dtype=F64)


def loss(objective: Objective, t: Trace, at: At = NOW) -> torch.Tensor:
    return torch.stack(list(objective(t, at).values())).sum(0)


def gradients(model: Least, objective: Objective, x: torch.Tensor, samples: int, seed: int = 0) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss(objective, model(x, samples, seed=seed)).mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# Importance-weighted bounds

BOUNDS = [IWAE, CIWAE, MIWAE, PIWAE, STL, DReG]


@pytest.mark.parametrize("kind", BOUNDS)
def test_one_sample_is_the_elbo(kind):
    objective = kind(samples=1, groups=1) if kind in (MIWAE, PIWAE) else kind(samples=1)
    t = Least()(images(5), 1)
    torch.testing.assert_close(loss(objective, t), -log_weights(t)[0])


def test_the_combinations_have_their_ends():
    t = Least()(images(5), 8)
    bound, elbo = loss(IWAE(samples=8), t), -log_weights(t).mean(0)
    torch.testing.assert_close(loss(CIWAE(samples=8, beta=0.0), t), bound)
    torch.testing.assert_close(loss(CIWAE(samples=8, beta=1.0), t), elbo)
    torch.testing.assert_close(loss(MIWAE(samples=8, groups=1), t), bound)
    torch.testing.assert_close(loss(MIWAE(samples=8, groups=8), t), elbo)
    for kind in (PIWAE(samples=8, groups=4), STL(samples=8), DReG(samples=8)):
        torch.testing.assert_close(loss(kind, t), bound, msg=type(kind).__name__)


def test_the_bound_rises_with_the_samples_towards_log_p():
    model, x = Least(), images(1).expand(4000, -1, -1, -1)
    with torch.no_grad():
        values = [loss(IWAE(samples=k), model(x, k)).mean().item() for k in (1, 2, 4, 16, 64)]
        mean, cover = torch.zeros(PIXELS, dtype=F64), model.decoder.T @ model.decoder + 0.25 * torch.eye(PIXELS, dtype=F64)
        truth = -torch.distributions.MultivariateNormal(mean, cover).log_prob(x[0].flatten()).item()
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(truth, abs=0.05)


def test_piwae_gives_the_decoder_the_gradient_of_iwae_and_the_encoder_that_of_miwae():
    x = images(6)
    found, iwae, miwae = (
        gradients(Least(), objective, x, 8)
        for objective in (PIWAE(samples=8, groups=4), IWAE(samples=8), MIWAE(samples=8, groups=4))
    )
    torch.testing.assert_close(found["decoder"], iwae["decoder"])
    torch.testing.assert_close(found["encoder"], miwae["encoder"])
    torch.testing.assert_close(found["log_var"], miwae["log_var"])
    assert not torch.allclose(iwae["encoder"], miwae["encoder"])


def test_dreg_has_the_gradient_of_iwae_on_average_and_less_noise():
    model, x = Least(), images(1).expand(500, -1, -1, -1)
    found = {}
    for objective in (IWAE(samples=8), DReG(samples=8)):
        each = [gradients(model, objective, x, 8, seed) for seed in range(60)]
        found[type(objective)] = {name: torch.stack([its[name] for its in each]) for name in each[0]}
    ours, theirs = found[DReG], found[IWAE]
    torch.testing.assert_close(ours["decoder"], theirs["decoder"])
    for name in ("encoder", "log_var"):
        error = ((ours[name].var(0) + theirs[name].var(0)) / 60).sqrt()
        assert ((ours[name].mean(0) - theirs[name].mean(0)) / error).abs().max() < 4
        assert (ours[name].var(0) < theirs[name].var(0)).all()


def test_sticking_the_landing_has_no_noise_at_the_true_posterior():
    """There w is p(x) whatever z is, and so is the gradient 0; the ordinary estimate still has the score's noise."""
    model, x = Least(), images(7)
    with torch.no_grad():
        precision = torch.eye(LATENT, dtype=F64) + model.decoder @ model.decoder.T / 0.25
        basis, scales, _ = torch.linalg.svd(model.decoder)
        model.decoder.copy_(torch.diag(scales) @ torch.eye(LATENT, PIXELS, dtype=F64))  # axes of the posterior are the latents
        precision = 1 + scales.square() / 0.25
        model.log_var.copy_(-precision.log())
        model.encoder.copy_(model.decoder.T / 0.25 / precision)
    del basis
    for name in ("encoder", "log_var"):
        assert gradients(model, STL(samples=1), x, 1)[name].abs().max() < 1e-12
        assert gradients(model, IWAE(samples=1), x, 1)[name].abs().max() > 1e-3


def test_sticking_the_landing_has_the_gradient_of_its_bound_with_one_sample_alone():
    """Tucker et al. (2019): with more, the score of q that is left out is not 0 on average."""
    model, x = Least(), images(1).expand(500, -1, -1, -1)
    for samples in (1, 8):
        found = {}
        for objective in (IWAE(samples=samples), STL(samples=samples)):
            each = [gradients(model, objective, x, samples, seed)["log_var"] for seed in range(60)]
            found[type(objective)] = torch.stack(each)
        theirs, ours = found[IWAE], found[STL]
        off = (ours.mean(0) - theirs.mean(0)).abs() / ((ours.var(0) + theirs.var(0)) / 60).sqrt()
        assert (off.max() < 4) == (samples == 1)


@pytest.mark.parametrize(
    "make", [lambda: IWAE(samples=0), lambda: MIWAE(samples=5, groups=2), lambda: PIWAE(samples=4, groups=0)]
)
def test_samples_that_make_no_sense_are_refused(make):
    with pytest.raises(UsageError, match=r"1 or more|a multiple of the groups"):
        make()


# The parts of the rate


@pytest.mark.parametrize("images_in_all", [0, 50])
def test_mutual_information_total_correlation_and_dimensions_add_up(images_in_all):
    t = Least()(images(9), 2)
    group = t.groups[0]
    torch.testing.assert_close(sum(decomposed_rate(t, images_in_all)), (group.log_q - group.log_p).mean(0))
    at = At(0, images_in_all)
    torch.testing.assert_close(loss(BetaTCVAE(beta=1.0), t, at), -log_weights(t).mean(0))


def test_over_a_whole_set_the_aggregate_is_exact():
    """Two images whose codes lie far apart along a diagonal: each says log 2 nats, and that one knows z1 from z0 is log 2 too."""
    mu = torch.tensor([[-50.0, -50.0], [50.0, 50.0]], dtype=F64)
    q, zero = Gaussian(mu, torch.zeros(2, 2, dtype=F64)), torch.zeros(2, dtype=F64)
    z, log_q = draw(q, 3)
    t = Trace(images(2), (Group(q, Gaussian(zero, zero), z, log_q),), FixedGaussian().double()(z.new_zeros(3, 2, 1, 1, PIXELS)))
    mi, tc, _ = decomposed_rate(t)
    torch.testing.assert_close(mi, torch.full((2,), math.log(2), dtype=F64))
    torch.testing.assert_close(tc, torch.full((2,), math.log(2), dtype=F64))


@pytest.mark.parametrize(("batch", "count"), [(1, 10), (2, 10), (8, 8), (8, 5), (8, 1000)])
def test_the_weights_of_a_stratified_sample_add_up_to_one(batch, count):
    torch.testing.assert_close(stratified(batch, count, torch.zeros((), dtype=F64)).exp().sum(1), torch.ones(batch, dtype=F64))


# Codes and their prior


@pytest.mark.parametrize("kind", [1, 2])
def test_dip_vae_asks_for_a_covariance_of_one(kind):
    t = Least()(images(50), 1)
    q = t.groups[0].q
    covariance = torch.cov(q.mean.T, correction=0) + (torch.diag(q.variance.mean(0)) if kind == 2 else 0)
    off = (covariance - torch.diag(covariance.diagonal())).square().sum()
    on = (covariance.diagonal() - 1).square().sum()
    found = DIPVAE(kind=kind, off_diagonal=3.0, diagonal=5.0)(t, NOW)
    torch.testing.assert_close(found["covariance"], (3 * off + 5 * on).expand(50))
    theirs = DIPVAE(kind=kind, off_diagonal=3.0)(t, NOW)
    torch.testing.assert_close(theirs["covariance"], (3 * off + (30 if kind == 1 else 3) * on).expand(50))
    plain = DIPVAE(kind=kind, off_diagonal=0.0, diagonal=0.0)
    torch.testing.assert_close(loss(plain, t), loss(ELBO(), t))


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_the_discrepancy_is_nothing_where_codes_are_the_priors_and_grows_with_the_distance(kernel):
    zero = torch.zeros(LATENT, dtype=F64)

    def apart(shift: float) -> float:
        q = Gaussian(torch.full((400, LATENT), shift, dtype=F64), zero)
        torch.manual_seed(0)
        z, log_q = draw(q, 1)
        px = FixedGaussian().double()(z.new_zeros(1, 400, 1, 1, PIXELS))
        return mmd(Trace(images(400), (Group(q, Gaussian(zero, zero), z, log_q),), px), kernel).item()

    assert abs(apart(0)) < 0.02
    assert 0.02 < apart(0.5) < apart(1) < apart(3)


def test_info_vae_without_its_discrepancy_is_the_elbo():
    t = Least()(images(5), 1)
    torch.testing.assert_close(loss(InfoVAE(alpha=0.0, weight=0.0), t), loss(ELBO(), t))
    assert InfoVAE()(t, NOW).keys() == {"distortion", "mmd"}


def test_an_unknown_kernel_is_refused_by_name():
    with pytest.raises(UsageError, match="no kernel 'cubic'; choose imq or rbf"):
        WAEMMD(kernel="cubic")


def test_capacity_pulls_the_rate_to_where_it_is_set():
    t = Least()(images(5), 1)
    objective = Capacity(capacity=Linear(images=100, end=8.0), gamma=10.0)
    torch.testing.assert_close(objective(t, At(50))["capacity"], 10 * (rate(t) - 4).abs())


# Critics


@pytest.mark.parametrize("kind", [FactorVAE, AAE])
def test_a_critic_learns_from_its_own_term_alone_and_the_encoder_from_the_others(kind):
    model = Least()
    objective = kind(latent=LATENT, width=8, depth=1).double()
    terms = objective(model(images(5), 1), NOW)
    lesson = terms.pop("critic")
    critic, encoder = list(objective.parameters()), [model.encoder, model.log_var]
    assert all(g is None for g in torch.autograd.grad(lesson.sum(), encoder, retain_graph=True, allow_unused=True))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(lesson.sum(), critic, retain_graph=True))
    others = sum(term.sum() for name, term in terms.items() if name in ("tc", "fooling"))
    assert all(g is None for g in torch.autograd.grad(others, critic, retain_graph=True, allow_unused=True))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(others, encoder))


def test_shuffled_codes_keep_every_latents_values_and_lose_their_ties():
    torch.manual_seed(0)
    z = torch.randn(2000, 1, dtype=F64) + 0.1 * torch.randn(2000, 2, dtype=F64)
    found = shuffled(z)
    torch.testing.assert_close(found.sort(0).values, z.sort(0).values)
    assert torch.corrcoef(z.T)[0, 1] > 0.9
    assert torch.corrcoef(found.T)[0, 1].abs() < 0.1


def test_a_trained_critic_tells_the_total_correlation():
    """Two latents with correlation 0.9: TC = -log(1 - 0.81) / 2 = 0.83 nats."""
    torch.manual_seed(0)
    objective = FactorVAE(latent=2, width=32, depth=2, gamma=1.0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    mix = torch.linalg.cholesky(torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    for _ in range(400):
        z = torch.randn(512, 2) @ mix.T
        optimizer.zero_grad()
        objective.lesson(z, shuffled(z)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert objective.critic(torch.randn(20000, 2) @ mix.T).mean().item() == pytest.approx(0.83, abs=0.15)


# The others


def test_geco_weighs_more_while_the_error_is_too_large_and_less_when_it_is_not():
    model = Least()
    with torch.no_grad():
        model.decoder.zero_()
    t = model(images(5), 1)  # black pictures, whose squared error is a third
    strict, lax = GECO(rmse=0.001, speed=1e-3).double(), GECO(rmse=0.999, speed=1e-3).double()
    for objective in (strict, lax):
        for _ in range(3):
            objective.absorb(objective.observe(t), 5)
    assert strict.log_weight > 0 > lax.log_weight
    assert strict.log_weight.item() == pytest.approx(3 * 1e-3 * 5 * 5, rel=0.2)  # of a batch no more than MOST counts
    assert strict.moving.item() == pytest.approx(strict.observe(t).item())
    assert lax(t, NOW)["constraint"].mean() < 0 < strict(t, NOW)["constraint"].mean()


def test_geco_moves_alike_for_pictures_of_any_size():
    moves = []
    for pixels in (4, 400):
        x = torch.full((5, 1, 1, pixels), 0.5, dtype=F64)
        t = Trace(x, (), FixedGaussian().double()(torch.zeros(1, 5, 1, 1, pixels, dtype=F64) + math.log(3)))  # 0.75
        objective = GECO(rmse=0.2).double()
        objective.absorb(objective.observe(t), 5)
        moves.append(objective.log_weight.item())
    assert moves[0] == pytest.approx(moves[1]) == pytest.approx(1e-4 * 5 * (0.25**2 / 0.2**2 - 1))


def test_geco_forgets_by_images_not_by_steps():
    torch.manual_seed(0)
    excess = torch.randn((), dtype=F64)
    moved = []
    for batch in (10, 40):
        objective = GECO(half_life=80).double()
        objective.steps.fill_(1000)  # far from the first ones, whose plain mean it is
        for _ in range(80 // batch):
            objective.absorb(excess, batch)
        moved.append(objective.moving.item())
    assert moved == pytest.approx([excess.item() / 2] * 2)
    assert 0.5 ** (128 / GECO().half_life) == pytest.approx(0.99, abs=2e-4)  # Rezende & Viola's, a step


def test_consistency_with_the_identity_and_the_same_noise_is_the_elbo():
    model, x = Least(), images(5)  # which draws the same in every look
    objective = Consistency(turn=0.0, shift=0.0, scale=0.0)
    nothing = {"consistency": torch.zeros(5, dtype=F64)}
    torch.testing.assert_close(objective(objective.look(model, x), NOW), ELBO()(model(x, 1), NOW) | nothing)


def test_a_moved_picture_is_moved_by_what_was_said():
    x = torch.zeros(50, 1, 21, 21, dtype=F64)
    x[:, :, 10, 10] = 0.9
    torch.manual_seed(0)
    y = moved(x, turn=0.0, shift=0.2, scale=0.0)
    mass = y / y.sum((2, 3), keepdim=True)
    grid = torch.arange(21, dtype=F64)
    down, right = (mass.sum(3) * grid).sum(2) - 10, (mass.sum(2) * grid).sum(2) - 10
    assert down.abs().max() <= 0.2 * 21 + 0.5
    assert right.abs().max() <= 0.2 * 21 + 0.5
    assert down.abs().mean() > 1
    assert right.abs().mean() > 1


def test_a_turn_is_one_for_pictures_that_are_no_squares_too():
    """What lies ten pixels from the middle still does."""
    x = torch.zeros(60, 1, 21, 41, dtype=F64)
    x[:, :, 10, 28:33] = 0.9
    torch.manual_seed(0)
    y = moved(x, turn=40.0, shift=0.0, scale=0.0)
    mass = y / y.sum((2, 3), keepdim=True)
    down = (mass.sum(3) * torch.arange(21, dtype=F64)).sum(2) - 10
    right = (mass.sum(2) * torch.arange(41, dtype=F64)).sum(2) - 20
    torch.testing.assert_close((down.square() + right.square()).sqrt(), torch.full((60, 1), 10.0, dtype=F64), atol=0.4, rtol=0)
    assert down.abs().max() > 4


def test_the_jacobians_norm_of_a_linear_decoder_is_that_of_its_matrix():
    model = Least()
    t = model(images(4000), 1)
    assert jacobian_norm(t).mean().item() == pytest.approx(model.decoder.square().sum().item(), rel=0.1)
    with torch.no_grad():  # as a validation asks
        objective = RAEGP(gamma=1.0).double()
        penalty = objective(objective.look(model, images(4000)), NOW)["jacobian"]
    assert penalty.mean().item() == pytest.approx(model.decoder.square().sum().item(), rel=0.1)
