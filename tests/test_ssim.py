"""Structural similarity: the oracle's numbers, 1 for equal pictures, and pictures of any size."""

import pytest
import torch
from pytorch_msssim import ms_ssim as oracle

from vaekit.ssim import ms_ssim, scales


def pictures(seed: int, size: tuple[int, int] = (192, 176), channels: int = 3) -> torch.Tensor:
    torch.manual_seed(seed)
    small = torch.rand(4, channels, 12, 11)
    return torch.nn.functional.interpolate(small, size, mode="bilinear")


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1, 0.5])
def test_it_is_the_oracles(noise):
    a = pictures(0)
    b = (a + noise * torch.randn_like(a)).clamp(0, 1)
    torch.testing.assert_close(ms_ssim(a, b), oracle(a, b, data_range=1.0, size_average=False), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (28, 28), (64, 64), (33, 180)])
def test_pictures_of_any_size_have_one(size):
    a = pictures(0, size, 1)
    b = a.clone().requires_grad_()
    equal = ms_ssim(a, b)
    torch.testing.assert_close(equal, torch.ones(4))
    other = ms_ssim(a, 1 - b)
    assert (other < 1).all()
    other.sum().backward()
    assert torch.isfinite(b.grad).all()


def test_scales_as_there_is_room_for():
    assert [scales(n, n) for n in (8, 16, 22, 44, 64, 88, 176, 1000)] == [1, 1, 2, 3, 3, 4, 5, 5]


def test_bf16_around_it_changes_nothing():
    """Differences of means of squares would be lost in eight digits."""
    a = pictures(0)
    b = (a + 0.02 * torch.randn_like(a)).clamp(0, 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = ms_ssim(a, b)
    torch.testing.assert_close(found, ms_ssim(a, b))
