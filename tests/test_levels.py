"""Probabilities of 8-bit levels: they add up to one, their mean and their draws are theirs, and no pixel is impossible."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaekit.errors import UsageError
from vaekit.levels import HALF, CategoricalLevels, DiscretizedLogistics, Histogram, LogisticLevels, as_level

F64 = torch.float64
EVERY = (torch.arange(256, dtype=F64) / 255).view(256, 1, 1, 1)  # a picture of one pixel for each level
HARD = st.floats(-30, 30)


def one_pixel(*numbers: list[float]) -> tuple[torch.Tensor, ...]:
    """Each parameter of some components, (1, M, 1, 1)."""
    return tuple(torch.tensor(each, dtype=F64).view(1, -1, 1, 1) for each in numbers)


def probabilities(p) -> torch.Tensor:
    """Of the 256 levels of a picture of one pixel, (256,)."""
    return p.log_prob(EVERY).exp()


@given(st.lists(st.tuples(HARD, st.floats(-3, 3), st.floats(-8, 3)), min_size=1, max_size=4))
def test_the_levels_of_logistics_add_up_to_one(components):
    found = probabilities(DiscretizedLogistics(*one_pixel(*map(list, zip(*components, strict=True)))))
    assert found.sum().item() == pytest.approx(1, abs=1e-9)


@given(st.lists(HARD, min_size=256, max_size=256))
def test_the_levels_of_a_histogram_add_up_to_one(logits):
    (logits,) = one_pixel(logits)
    assert probabilities(Histogram(logits)).sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("mean", [-0.2, 0.0, 0.31, 1.0, 1.4])
@pytest.mark.parametrize("log_scale", [-8.0, -5.0, -2.0, 0.5])
def test_the_mean_is_that_of_the_levels(mean, log_scale):
    p = DiscretizedLogistics(*one_pixel([0.0, 1.0], [mean, 0.5], [log_scale, -3.0]))
    assert p.mean.item() == pytest.approx((EVERY.flatten() * probabilities(p)).sum().item(), abs=HALF)


@pytest.mark.parametrize("kind", [LogisticLevels(components=3), LogisticLevels(components=1), CategoricalLevels()])
def test_draws_are_levels_as_often_as_they_are_probable(kind):
    torch.manual_seed(0)
    out = torch.randn(1, 1, kind.per_pixel, 1, 1, dtype=F64)
    p = kind(out)
    drawn = p.sample((20_000,)).flatten()
    assert torch.equal(drawn, as_level(drawn))
    assert drawn.mean().item() == pytest.approx(p.mean.item(), abs=0.01)
    coarse = torch.histc(drawn, 8, 0, 1) / len(drawn)
    expected = probabilities(p).view(8, 32).sum(1)
    torch.testing.assert_close(coarse, expected, atol=0.015, rtol=0)


@pytest.mark.parametrize("kind", [LogisticLevels(components=3), CategoricalLevels()])
def test_every_pixel_value_has_its_own_numbers(kind):
    """Channel c, row h, column w of a picture depend on the numbers c V ... c V + V - 1 at (h, w), and on no other."""
    out = torch.randn(1, 1, 2 * kind.per_pixel, 2, 3, dtype=F64, requires_grad=True)
    x = as_level(torch.rand(1, 1, 2, 2, 3, dtype=F64))
    kind(out).mean[0, 0, 1, 0, 2].backward()
    reached = out.grad[0, 0].abs() > 0
    assert not reached[: kind.per_pixel].any()
    assert reached[kind.per_pixel :].any(0).nonzero().tolist() == [[0, 2]]
    assert kind(out).log_prob(x).shape == (1, 1)


@pytest.mark.parametrize("x", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("value", [-1e4, 0.0, 1e4])
def test_no_pixel_is_so_improbable_that_training_breaks(x, value):
    kind = LogisticLevels(components=2)
    out = torch.full((1, 1, 6, 1, 1), value, requires_grad=True)
    nats = -kind(out).log_prob(torch.full((1, 1, 1, 1, 1), as_level(torch.tensor(x))))
    nats.sum().backward()
    assert torch.isfinite(nats).all()
    assert torch.isfinite(out.grad).all()


def test_before_training_a_picture_costs_about_as_much_as_without_a_model():
    x = as_level(torch.rand(1, 4, 1, 8, 8))
    for kind in (LogisticLevels(), CategoricalLevels()):
        bits = -kind(torch.zeros(1, 4, kind.per_pixel, 8, 8)).log_prob(x).mean() / (64 * math.log(2))
        assert 7 < bits < 10


def test_logistics_need_a_component():
    with pytest.raises(UsageError, match="1 or more"):
        LogisticLevels(components=0)
