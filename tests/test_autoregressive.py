"""A pixel sees the pixels drawn before it and no other; the density is one; what is drawn follows it."""

import itertools
import math

import pytest
import torch
from scipy.stats import chisquare

from vaekit.autoregressive import NeighbourBernoulli, NeighbourLogistic, Neighbours, bayer
from vaekit.errors import UsageError

F64 = torch.float64


def likelihood(image: tuple[int, int, int] = (1, 9, 6), seed: int = 0, **fields) -> NeighbourBernoulli:
    torch.manual_seed(seed)
    return NeighbourBernoulli(image=image, **{"features": 3, "patch": 2} | fields).double()


def out_of(net: Neighbours, samples: int = 1, images: int = 1, seed: int = 1) -> torch.Tensor:
    """What a decoder might give."""
    noise = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(samples, images, *net.grid, net.values * net.features, generator=noise, dtype=F64)


def all_pictures(image: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=math.prod(image))), dtype=F64).unflatten(1, image)


def test_bayers_matrix_is_the_one_of_the_paper():
    assert bayer(2).tolist() == [[0, 2], [3, 1]]
    assert bayer(4).tolist() == [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]
    assert bayer(8).flatten().sort().values.tolist() == list(range(64))


@pytest.mark.parametrize(
    ("image", "fields"), [((1, 3, 3), {}), ((1, 2, 4), {}), ((2, 2, 2), {}), ((1, 3, 3), {"patch": 4}), ((1, 3, 3), {"depth": 2})]
)
def test_the_density_sums_to_one_over_all_pictures(image, fields):
    net, x = likelihood(image, **fields), all_pictures(image)
    px = net(out_of(net).expand(1, len(x), -1, -1, -1))
    torch.testing.assert_close(px.log_prob(x).logsumexp(-1), torch.zeros(1, dtype=F64))


@pytest.mark.parametrize(
    ("image", "fields"),
    [
        ((1, 9, 6), {}),
        ((1, 9, 6), {"patch": 4}),
        ((1, 9, 6), {"reach": 0}),
        ((1, 11, 9), {"reach": 2}),
        ((3, 5, 6), {"depth": 1}),
    ],
)
def test_a_pixel_sees_all_earlier_places_in_reach_and_no_later_ones(image, fields):
    net = likelihood(image, **fields)
    out, values = out_of(net)[0], net.fold(torch.rand(1, *image, dtype=F64).round())
    seen = torch.autograd.functional.jacobian(lambda x: net.numbers(net.context(x), out), values)[0]  # (H', W', V, 1, H', W', V)
    seen = seen[:, :, :, 0].abs() > 0  # (H', W', V, H', W', V)
    places = seen.any(4).any(3).any(1).any(0)  # (V, V)
    assert torch.equal(places, torch.ones_like(places).tril(-1))
    for y, x in itertools.product(*map(range, net.grid)):
        near = seen[y, x].any(3).any(0).nonzero() - torch.tensor([y, x])
        assert near.abs().max() <= net.reach * (1 + net.depth)


def test_of_grey_pixels_it_is_the_cross_entropy():
    net, grey = likelihood((1, 3, 3)), torch.rand(2, 1, 3, 3, dtype=F64)
    numbers = torch.randn(4, 2, *net.grid, net.values, dtype=F64)
    there = net.fold(torch.ones_like(grey[:1]))[0]
    wrong = torch.nn.functional.binary_cross_entropy_with_logits(numbers, net.fold(grey).expand_as(numbers), reduction="none")
    torch.testing.assert_close(net.log_prob(numbers, grey.expand(4, 2, 1, 3, 3)), -(wrong * there).sum((-3, -2, -1)))


def test_folding_loses_nothing():
    net = likelihood((3, 9, 6), patch=4)
    x = torch.rand(2, 3, 9, 6, dtype=F64)
    torch.testing.assert_close(net.unfold(net.fold(x)), x)


def test_draws_have_the_frequencies_of_the_density():
    """By a chi-square test: as far as frequencies are from the density, so far they are from it by chance."""
    image, count = (1, 2, 3), 20_000
    net, pictures = likelihood(image, depth=1), all_pictures(image)
    torch.manual_seed(0)
    drawn = net(out_of(net).expand(count, 1, -1, -1, -1)).sample()[:, 0]
    found = (drawn[:, None] == pictures).flatten(2).all(-1).double().sum(0)
    p = net(out_of(net).expand(1, len(pictures), -1, -1, -1)).log_prob(pictures)[0].exp()
    assert chisquare(found.numpy(), (p * count / p.sum()).detach().numpy()).pvalue > 1e-3


def test_the_mean_is_grey_and_nothing_is_drawn():
    net = likelihood(patch=4)
    out = out_of(net, samples=2, images=3)
    px = net(out)
    assert px.mean.shape == (2, 3, 1, 9, 6)
    assert torch.equal(px.mean, px.mean)
    assert ((px.mean > 0) & (px.mean < 1)).all()
    first = net.fold(px.mean.flatten(0, 1))[..., 0]  # the first values see nothing: theirs is the exact mean
    torch.manual_seed(0)
    drawn = net(out.repeat(2000, 1, 1, 1, 1)).sample().unflatten(0, (2000, 2)).mean(0)
    torch.testing.assert_close(net.fold(drawn.flatten(0, 1))[..., 0], first, atol=0.06, rtol=0)


def test_activations_do_not_change_the_names_of_weights():
    layers = ("first", "body.0", "hidden", "last")
    assert likelihood(depth=1).state_dict().keys() == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="power of two"):
        likelihood(patch=3)
    with pytest.raises(UsageError, match="features is 0; it must be a whole number, 1 or more"):
        likelihood(features=0)
    with pytest.raises(UsageError, match="Give a MixerDecoder patch=2, per_patch=12"):
        likelihood()(torch.zeros(1, 1, 1, 9, 6, dtype=F64))


# Grey and colour


def levels(image: tuple[int, int, int]) -> NeighbourLogistic:
    torch.manual_seed(0)
    return NeighbourLogistic(image=image, features=3, patch=2, components=2).double()


def test_the_levels_of_two_pixels_sum_to_one_and_are_drawn_as_often():
    net, every = levels((1, 1, 2)), torch.arange(256, dtype=F64) / 255
    x = torch.cartesian_prod(every, every)[:, None, None]
    out = out_of(net)
    p = net(out.expand(1, len(x), -1, -1, -1)).log_prob(x)[0].exp()
    torch.testing.assert_close(p.sum(), torch.tensor(1.0, dtype=F64))
    torch.manual_seed(0)
    drawn = (net(out.expand(20_000, 1, -1, -1, -1)).sample() * 255).round().long().flatten(1)
    expected = p.unflatten(0, (256, 256)).detach()
    for pixel in (0, 1):
        found = torch.bincount(drawn[:, pixel] // 16, minlength=16)
        each = expected.sum(1 - pixel).unflatten(0, (16, 16)).sum(1) * 20_000
        often = each > 20
        assert chisquare(found[often], each[often] * found[often].sum() / each[often].sum()).pvalue > 1e-3


def test_what_is_said_of_a_value_depends_on_those_before_it_alone():
    net = levels((3, 4, 4))
    out, values = out_of(net)[0], net.fold(torch.rand(1, 3, 4, 4, dtype=F64))
    before = net.numbers(net.context(values), out).unflatten(-1, (net.values, -1))
    for i in range(net.values):
        other = values.clone()
        other[..., i] = 1 - other[..., i]
        after = net.numbers(net.context(other), out).unflatten(-1, (net.values, -1))
        torch.testing.assert_close(after[..., : i + 1, :], before[..., : i + 1, :])
        assert i == net.values - 1 or (after[..., i + 1 :, :] != before[..., i + 1 :, :]).any()


def test_numbers_are_those_of_their_pixels():
    """Without neighbours it is the mixture of logistics of each pixel, wherever that lies in its patch."""
    net, x = levels((3, 5, 3)), torch.randint(256, (2, 3, 5, 3)).double() / 255
    numbers = torch.randn(4, 2, *net.grid, net.values * net.each.per_pixel, dtype=F64)
    places = net.fold(torch.arange(45, dtype=F64).reshape(1, 3, 5, 3) + 1)[0].long()  # (H', W', V), 0 where nothing is
    found = net.log_prob(numbers, x)
    apart = numbers.unflatten(-1, (net.values, -1))
    expected = torch.zeros(4, 2, dtype=F64)
    for y, column, v in itertools.product(*map(range, places.shape)):
        if (place := places[y, column, v].item()) > 0:
            its = apart[:, :, y, column, v][..., None, None]  # (K, B, P, 1, 1)
            expected += net.each(its).log_prob(x.flatten(1)[:, place - 1, None, None, None])
    torch.testing.assert_close(found, expected)
