"""Convolutions by products are torch's, whatever their geometry, and so are their gradients."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from vaekit.convolutions import by_patches

PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))


def found(layer, x):
    """The result and every gradient."""
    x = x.clone().requires_grad_()
    out = layer(x)
    ramp = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return out, *torch.autograd.grad((out * ramp).sum(), [x, *layer.parameters()])


def both_ways(layer, size):
    torch.manual_seed(0)
    layer, x = layer.double(), torch.randn(2, layer.in_channels, *size, dtype=torch.float64)
    theirs = found(layer, x)
    by_patches(layer)
    assert type(layer) not in {nn.Conv2d, nn.ConvTranspose2d}
    for mine, its in zip(found(layer, x), theirs, strict=True):
        torch.testing.assert_close(mine, its)


@given(PAIRS, PAIRS, st.tuples(st.integers(0, 2), st.integers(0, 2)), st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_a_convolution(kernel, stride, padding, size):
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    both_ways(nn.Conv2d(3, 5, kernel, stride, padding), size)


@given(
    PAIRS,
    PAIRS,
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.integers(1, 10), st.integers(1, 10)),
    st.booleans(),
)
def test_a_transposed_convolution(kernel, stride, padding, size, more):
    extra = tuple(int(more and s > 1) for s in stride)
    sides = [(n - 1) * s - 2 * p + k + e for n, s, p, k, e in zip(size, stride, padding, kernel, extra, strict=True)]
    assume(min(sides) > 0)
    both_ways(nn.ConvTranspose2d(3, 5, kernel, stride, padding, extra), size)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding="same"),
        nn.Conv2d(4, 6, 3, dilation=2),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.Conv2d(4, 6, 3, bias=False),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 6, 3, groups=2),
        nn.ConvTranspose2d(4, 6, 3, dilation=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1),
    ],
    ids=str,
)
def test_a_layer_of_any_kind(layer):
    both_ways(layer, (8, 8))


def test_autocast_rounds_as_it_does_without():
    layer, x = nn.Conv2d(8, 8, 3), torch.randn(2, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = layer(x)
        by_patches(layer)
        ours = layer(x)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)


def test_second_derivatives():
    """A penalty on a gradient, as adversarial objectives have."""
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 4, 3).double(), torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)

    def slope():
        (gradient,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), layer.weight)[0]

    theirs = slope()
    by_patches(layer)
    torch.testing.assert_close(slope(), theirs)


def test_a_net_takes_it_and_gives_it_back():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.ConvTranspose2d(2, 1, 3))
    before, kinds = net.state_dict(), [type(layer) for layer in net]
    by_patches(net)
    assert net.state_dict().keys() == before.keys()
    by_patches(net, False)
    assert [type(layer) for layer in net] == kinds
