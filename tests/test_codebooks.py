"""Codes: the nearest entry is chosen, entries follow what they are chosen for, the dead come back, and the bound holds."""

import math

import numpy as np
import pytest
import torch
from vector_quantize_pytorch import FSQ, LFQ
from vector_quantize_pytorch import VectorQuantize as VQ
from vector_quantize_pytorch.vector_quantize_pytorch import kmeans

import tiny
from conformance import CODES, coded
from vaekit.code_transformer import CodeTransformer
from vaekit.codebooks import Coded, FiniteScalar, LookupFree, UniformCodes, VectorQuantized
from vaekit.errors import UsageError
from vaekit.latent import code_counts
from vaekit.objectives import ELBO, Quantized
from vaekit.terms import rate
from vaekit.trace import At, Group, Trace

F64 = torch.float64


def as_it_is(part):
    """A posterior whose head passes on what it is given."""
    part.head = torch.nn.Identity()
    return part


def trace_of(q: Coded) -> Trace:
    z, log_q = q.rsample_and_log_prob((1,))
    nothing = torch.zeros(len(q.codes), 1, 1, 1)
    return Trace(nothing, (Group(q, None, z, log_q),), None)  # pyright: ignore[reportArgumentType]


def test_the_nearest_entry_is_that_of_the_oracle():
    torch.manual_seed(0)
    oracle = VQ(dim=3, codebook_size=11, commitment_weight=1.0, rotation_trick=False).eval()
    ours = as_it_is(VectorQuantized(features=3, latent=3, size=11, commitment=1.0))
    ours.books.copy_(oracle.codebook.detach()[None])
    h = torch.randn(40, 7, 3)
    expected, indices, _ = oracle(h)
    q = ours(h)
    assert torch.equal(q.codes[..., 0], indices)
    torch.testing.assert_close(q.z, expected)
    torch.testing.assert_close(q.cost, (h - expected).square().sum(-1))
    torch.testing.assert_close(ours.entries(q.codes), expected)


def test_the_entries_move_as_those_of_the_oracle():
    """Two steps from one state, where the half-life is constant and nothing dies."""
    torch.manual_seed(0)
    oracle = VQ(dim=3, codebook_size=11, decay=0.9, eps=1e-12, rotation_trick=False).train()
    half_life = 40 * math.log(0.5) / math.log(0.9)
    ours = as_it_is(VectorQuantized(features=3, latent=3, size=11, half_life=half_life, dead=0.0))
    theirs = oracle._codebook
    theirs.embed.copy_(torch.randn(1, 11, 3))
    theirs.cluster_size.copy_(1 + 5 * torch.rand(1, 11))
    theirs.embed_avg.copy_(theirs.embed * theirs.cluster_size[..., None])
    for buffer, value in ((ours.books, theirs.embed), (ours.used, theirs.cluster_size), (ours.sums, theirs.embed_avg)):
        buffer.copy_(value)
    ours.images_seen.fill_(1e6)  # the half-life has grown to its value
    before = ours.books.clone()
    for _ in range(2):
        h = torch.randn(40, 3)
        _, indices, _ = oracle(h)
        q = ours(h)
        assert torch.equal(q.codes[:, 0], indices)
        ours.absorb(ours.observe(trace_of(q)), len(h))
        torch.testing.assert_close(ours.used, theirs.cluster_size)
        torch.testing.assert_close(ours.sums, theirs.embed_avg)
        torch.testing.assert_close(ours.books, theirs.embed)
    assert not torch.allclose(ours.books, before, atol=1e-2)


def test_the_first_steps_are_the_oracles_k_means():
    """The first step is one of its iterations; on one batch the next ones come to the same centres."""
    torch.manual_seed(0)
    centres = 4 * torch.randn(6, 2)
    h = (centres[:, None] + torch.randn(6, 50, 2)).flatten(0, 1)
    ours = as_it_is(VectorQuantized(features=2, latent=2, size=6, dead=0.0))
    first = h[torch.randperm(len(h))[:6]]
    ours.books.copy_(first)

    def theirs(iterations: int) -> torch.Tensor:
        means, counts = kmeans(h[None], 6, iterations, sample_fn=lambda samples, count: first[None])
        assert counts.min() > 0
        return means

    ours.absorb(ours.observe(trace_of(ours(h))), len(h))
    torch.testing.assert_close(ours.books, theirs(1))
    for _ in range(40):
        ours.absorb(ours.observe(trace_of(ours(h))), len(h))
    assert not torch.allclose(theirs(40), theirs(1), atol=0.1)
    torch.testing.assert_close(ours.books, theirs(40), atol=1e-3, rtol=0)


def test_rounding_is_that_of_the_oracle():
    torch.manual_seed(0)
    sizes = [8, 5, 4, 3]
    oracle, ours = FSQ(sizes), as_it_is(FiniteScalar(features=4, latent=4, sizes=tuple(sizes)))
    h = 3 * torch.randn(50, 4)
    q = ours(h)
    torch.testing.assert_close(q.z, oracle.quantize(h))
    torch.testing.assert_close(ours.entries(q.codes), q.z)
    assert all(len(q.codes[:, i].unique()) == size for i, size in enumerate(sizes))


def test_bits_and_their_entropies_are_those_of_the_oracle():
    torch.manual_seed(0)
    oracle = LFQ(dim=4, codebook_size=16, entropy_loss_weight=1.0, diversity_gamma=1.0, commitment_loss_weight=0.0).train()
    ours = as_it_is(LookupFree(features=4, latent=4, commitment=0.0, entropy=1.0))
    h = 0.01 * torch.randn(2, 30, 4)
    found, breakdown = oracle(h, return_loss_breakdown=True)
    q = ours(h)
    torch.testing.assert_close(q.z, found.quantized)
    expected = breakdown.per_sample_entropy - breakdown.batch_entropy
    torch.testing.assert_close(q.cost.mean(), expected, rtol=1e-4, atol=1e-5)


def test_entries_become_the_centres_of_clusters():
    """Far from the first codebook, and fewer clusters than entries: the dead ones come back until every cluster has one."""
    torch.manual_seed(0)
    centres = 20 + 4 * torch.randn(6, 2)
    part = as_it_is(VectorQuantized(features=2, latent=2, size=8))
    for _ in range(60):
        h = centres[torch.randint(6, (128,))] + 0.1 * torch.randn(128, 2)
        part.absorb(part.observe(trace_of(part(h))), 128)
    distances = torch.cdist(centres, part.books[0]).min(1).values
    assert distances.max() < 0.2


def test_a_second_codebook_has_what_the_first_leaves():
    torch.manual_seed(0)
    shallow, deep = (as_it_is(VectorQuantized(features=2, latent=2, size=4, depth=depth)) for depth in (1, 3))
    for part in (shallow, deep):
        for _ in range(40):
            part.absorb(part.observe(trace_of(part(torch.randn(256, 2)))), 256)
    h = torch.randn(500, 2)
    one, three = ((part(h).z - h).square().mean().item() for part in (shallow, deep))
    assert three < 0.4 * one
    assert deep(h).codes.shape == (500, 3)
    torch.testing.assert_close(deep.entries(deep(h).codes), deep(h).z)


def test_every_sum_of_the_first_entries_is_held_near_what_the_encoder_says():
    """Lee et al. (2022), eq. 7."""
    torch.manual_seed(0)
    part = as_it_is(VectorQuantized(features=2, latent=2, size=4, depth=3, commitment=0.5))
    q = part(torch.randn(5, 2))
    first = [sum(part.books[d][q.codes[:, d]] for d in range(depth)) for depth in (1, 2, 3)]
    torch.testing.assert_close(q.cost, 0.5 * torch.stack([(q.before - z).square().sum(1) for z in first]).mean(0))


@pytest.mark.parametrize("posterior", CODES)
def test_the_gradient_passes_as_if_nothing_had_been_chosen(posterior):
    model, _ = coded(posterior)()
    h = torch.randn(2, 4, model.posterior.features, requires_grad=True)
    q = model.posterior(h)
    q.z.sum().backward()
    assert h.grad is not None
    assert torch.isfinite(h.grad).all()
    assert h.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", [torch.int64, torch.float32, F64])
def test_nats_of_even_codes_are_no_whole_numbers(kind):
    model, _ = coded("finite-scalar")()
    nats = -model.p_z().log_prob(torch.zeros(2, 12, dtype=kind))
    torch.testing.assert_close(nats, torch.full((2,), 4 * math.log(5 * 4 * 3), dtype=nats.dtype))
    torch.testing.assert_close(UniformCodes(latent=12).nats(torch.zeros(2, 12, dtype=kind), model), nats)


@pytest.mark.parametrize("posterior", CODES)
def test_the_rate_is_the_length_of_the_codes(posterior):
    model, objective = coded(posterior)()
    x = torch.rand(5, 1, 8, 8)
    t = model.eval()(x)
    nats = 4 * sum(math.log(size) for size in model.posterior.levels)
    torch.testing.assert_close(rate(t), torch.full((5,), nats))
    assert objective(t, At(0)).keys() == {"distortion", "commitment"}
    drawn = model.draw(7)
    again = model.posterior(tiny_features(model)).codes
    assert drawn.shape == (7, model.latent)
    assert again.shape == (3, 4, len(model.posterior.levels))


def tiny_features(model) -> torch.Tensor:
    return model.encoder(torch.rand(3, 1, 8, 8))


def test_codes_in_use_are_counted():
    model, _ = coded("finite-scalar")()
    pixels = tiny.pictures(30)
    counts = code_counts(model.eval(), pixels, np.arange(10, 30))
    assert [len(count) for count in counts] == [5, 4, 3]
    assert [count.sum() for count in counts] == [20 * 4] * 3


def test_what_does_not_fit_is_said():
    with pytest.raises(UsageError, match="size is 1; it must be a whole number, 2 or more"):
        VectorQuantized(features=2, latent=2, size=1)
    with pytest.raises(UsageError, match="one size of 2 or more for each"):
        FiniteScalar(features=2, latent=2, sizes=(5,))
    with pytest.raises(UsageError, match="latent is 15; it must be a whole number, from 1 to 14"):
        LookupFree(features=2, latent=15)
    with pytest.raises(UsageError, match=r"levels=\(\), .* one for each code of a place"):
        CodeTransformer(latent=4, levels=(), places=4)
    with pytest.raises(UsageError, match="Use VectorQuantized"):
        Quantized()(tiny.model()(torch.rand(2, 1, 8, 8)), At(0))
    vq, _ = coded("vector-quantized")()
    with pytest.raises(UsageError, match="leave the temperature at 1"):
        vq.draw(2, 0.5)
    assert ELBO()(vq(torch.rand(2, 1, 8, 8)), At(0))["rate"].shape == (2,)
