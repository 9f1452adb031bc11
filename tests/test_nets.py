"""Every net fits every image, and no net looks at batch-mates."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from vaekit.errors import UsageError
from vaekit.nets import (
    NETS,
    ConvDecoder,
    ConvEncoder,
    MixerDecoder,
    MixerEncoder,
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
)
from vaekit.nets.pyramid import Climb, Stair, groups, stairs

SMALL = {
    "mlp": {"depth": 1},
    "conv": {"width": 4, "widest": 8},
    "resnet": {"width": 4, "widest": 8},
    "mixer": {"width": 4, "depth": 1},
}
SIDES = st.integers(1, 70)
IMAGES = st.tuples(st.integers(1, 4), SIDES, SIDES)


def pair(name: str, image: tuple[int, int, int], latent: int = 3) -> tuple[nn.Module, nn.Module]:
    encoder, decoder = NETS[name]
    return encoder(image=image, features=12, **SMALL[name]), decoder(image=image, latent=latent, **SMALL[name])


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=60)
@given(image=IMAGES, batch=st.integers(1, 3))
def test_any_image_goes_in_and_comes_out(name, image, batch):
    encoder, decoder = pair(name, image)
    with torch.no_grad():
        assert encoder(torch.rand(batch, *image)).shape == (batch, 12)
        assert decoder(torch.randn(batch, 3)).shape == (batch, *image)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("image", [(1, 1, 1), (3, 1, 70), (1, 28, 28), (4, 33, 5), (3, 64, 64)])
def test_the_usual_sizes_pass_a_gradient_to_every_pixel(name, image):
    torch.manual_seed(0)
    encoder, decoder = pair(name, image)
    x = torch.rand(2, *image, requires_grad=True)
    encoder(x).square().sum().backward()
    assert x.grad.count_nonzero() > 0.9 * x.numel()
    z = torch.randn(2, 3)
    assert (decoder(z)[0] != decoder(z)[1]).float().mean() > 0.9  # every pixel depends on the code


@pytest.mark.parametrize("name", NETS)
def test_no_net_keeps_batch_statistics(name):
    for net in pair(name, (3, 20, 12)):
        assert not any(isinstance(layer, _NormBase) for layer in net.modules())
        assert not list(net.buffers())
        assert any(isinstance(layer, nn.GroupNorm | nn.LayerNorm) for layer in net.modules())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("training", [True, False])
def test_an_image_alone_gives_what_it_gives_among_others(name, training):
    torch.manual_seed(0)
    encoder, decoder = (net.double().train(training) for net in pair(name, (3, 20, 12)))
    x, z = torch.rand(5, 3, 20, 12, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(encoder(x)[:1], encoder(x[:1]))
    torch.testing.assert_close(decoder(z)[:1], decoder(z[:1]))


@given(SIDES, SIDES, st.integers(1, 8))
def test_stairs_lead_down_step_by_step(height, width, smallest):
    size = (height, width)
    for stair in stairs(height, width, smallest):
        assert stair.big == size
        assert stair.small == tuple(-(-side // by) for side, by in zip(stair.big, stair.stride, strict=True))
        assert max(stair.stride) == 2
        size = stair.small
    assert max(size) <= smallest or (height, width) == size
    assert all(side <= smallest or side == before for side, before in zip(size, (height, width), strict=True))


@given(st.integers(1, 600))
def test_groups_divide_their_channels(channels):
    assert channels % groups(channels) == 0
    assert groups(channels) == 1 or channels // groups(channels) >= 4


def test_a_climb_puts_every_value_in_its_place():
    climb = Climb(1, 1, Stair(big=(3, 4), small=(2, 2), stride=(2, 2)))
    with torch.no_grad():
        climb.conv.weight.zero_()
        climb.conv.weight[:, 0, 1, 1] = 1  # every sub-pixel is the pixel it came from
        climb.conv.bias.copy_(torch.arange(4) / 10)
    found = climb(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    expected = torch.tensor([[[[1.0, 1.1, 2.0, 2.1], [1.2, 1.3, 2.2, 2.3], [3.0, 3.1, 4.0, 4.1]]]])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("image", [(0, 8, 8), (1, 8), (1, 0, 8), (1, 8, 8, 8)])
@pytest.mark.parametrize("net", [MLPEncoder, ConvEncoder, ResNetEncoder])
def test_an_impossible_image_is_refused_at_construction(net, image):
    with pytest.raises(UsageError, match="expected \\(channels, height, width\\)"):
        net(image=image)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLPEncoder(image=(1, 8, 8), depth=0),
        lambda: MLPDecoder(image=(1, 8, 8), latent=2, depth=0),
        lambda: MLPDecoder(image=(1, 8, 8), latent=2, width=0),
        lambda: ConvEncoder(image=(1, 8, 8), width=0),
        lambda: ConvDecoder(image=(1, 8, 8), latent=2, width=-4),
        lambda: MixerEncoder(image=(1, 8, 8), patch=0),
        lambda: MixerDecoder(image=(1, 8, 8), latent=2, features=0),
        lambda: ResNetEncoder(image=(1, 8, 8), features=0),
        lambda: ResNetDecoder(image=(1, 8, 8), latent=2, widest=0),
    ],
)
def test_a_net_without_width_or_depth_is_refused_at_construction(make):
    with pytest.raises(UsageError, match="1 or more"):
        make()
