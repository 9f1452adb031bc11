"""Convolutions as the CPU likes them: the same numbers from torch's own kernels, put together in another way.

oneDNN's transposed convolutions spend up to as long on a bias as on the products, and its gradients by weights are slow where
the map of places is small. So a bias is added outside, where a compiler joins it to what follows, and small maps
are gathered into rows of patches, for one large matrix product.
"""

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.utils import _pair as pair

SMALL = 64  # places up to which gradients by weights are faster from patches
SMALLEST = 16  # places up to which the convolution itself is

Pair = tuple[int, int]
Shape = tuple[Pair, Pair, Pair, Pair]  # kernel, stride, padding, places: (height, width) each


def by_patches(module: nn.Module, wanted: bool = True) -> None:
    """Let every convolution within a module be computed this way, or torch's own way again. Weights and names stay."""
    for layer in module.modules():
        kind = OURS.get(type(layer)) if wanted else THEIRS.get(type(layer))
        if kind:
            layer.__class__ = kind


class Conv2d(nn.Conv2d):
    """torch's layer, (B, C, H, W) -> (B, O, h, w)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if isinstance(self.padding, str) or self.padding_mode != "zeros" or self.groups > 1 or self.dilation != (1, 1):
            return super()._conv_forward(input, weight, bias)
        kernel, stride, padding = sides(weight), pair(self.stride), pair(self.padding)
        places = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(sides(input), kernel, stride, padding, strict=True))
        if worth_it(kernel, places):
            return joined(Down.apply(*cast(input, weight), (kernel, stride, padding, places)), bias)
        return joined(super()._conv_forward(input, weight, None), bias)


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch's layer, (B, C, H, W) -> (B, O, h, w)."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None or self.groups > 1 or self.dilation != (1, 1):
            return super().forward(input, output_size)
        kernel, stride, padding = sides(self.weight), pair(self.stride), pair(self.padding)
        if worth_it(kernel, sides(input)):
            out = Up.apply(*cast(input, self.weight), (kernel, stride, padding, sides(input)), pair(self.output_padding))
        else:
            out = F.conv_transpose2d(input, self.weight, None, stride, padding, self.output_padding)
        return joined(out, self.bias)


OURS = {nn.Conv2d: Conv2d, nn.ConvTranspose2d: ConvTranspose2d}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}


def worth_it(kernel: Pair, places: Pair) -> bool:
    return prod(kernel) > 1 and 0 < prod(places) <= SMALL


def sides(t: Tensor) -> Pair:
    return (t.shape[2], t.shape[3])


def cast(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both as autocast would have them."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return x.to(torch.get_autocast_dtype(kind)), weight.to(torch.get_autocast_dtype(kind))
    return x, weight


def joined(out: Tensor, bias: Tensor | None) -> Tensor:
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]


# Rows


def patches(x: Tensor, shape: Shape) -> Tensor:
    """What each place sees: (B, C, H, W) -> (B * places, kernel * C)."""
    kernel, stride, padding, places = shape
    images, channels = x.shape[:2]
    high, wide = ((n - 1) * s + k for n, s, k in zip(places, stride, kernel, strict=True))
    top, left = padding
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, wide - x.shape[3] - left, top, high - x.shape[2] - top)).contiguous()
    steps = (high * wide * channels, stride[0] * wide * channels, stride[1] * channels, wide * channels, channels, 1)
    return x.as_strided((images, *places, *kernel, channels), steps).reshape(-1, prod(kernel) * channels)


def rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B * H * W, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def images(found: Tensor, count: int, size: Pair) -> Tensor:
    """(B * H * W, C) -> (B, C, H, W), channels last."""
    return found.view(count, *size, -1).permute(0, 3, 1, 2)


def matrix(weight: Tensor) -> Tensor:
    """(O, C, kernel) -> (kernel * C, O), as patches want it."""
    return weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])


def weights(found: Tensor, kernel: Pair) -> Tensor:
    """(kernel * C, O) -> (O, C, kernel)."""
    return found.view(*kernel, -1, found.shape[1]).permute(3, 2, 0, 1)


class Down(Function):
    """conv2d without bias."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, shape: Shape) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        _, stride, padding, places = shape
        if prod(places) <= SMALLEST:
            return images(patches(x, shape) @ matrix(weight), len(x), places)
        return torch.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore
        x, weight = ctx.saved_tensors
        kernel, stride, padding, places = ctx.shape
        by_x = by_weight = None
        if ctx.needs_input_grad[1]:
            by_weight = weights(patches(x, ctx.shape).t() @ rows(gradient), kernel)
        if ctx.needs_input_grad[0] and places == (1, 1):
            spread = (rows(gradient) @ matrix(weight).t()).view(len(x), *kernel, -1).permute(0, 3, 1, 2)
            (height, width), (top, left) = sides(x), padding
            bottom, right = max(0, height + top - kernel[0]), max(0, width + left - kernel[1])
            by_x = F.pad(spread, (0, right, 0, bottom))[:, :, top : top + height, left : left + width]
        elif ctx.needs_input_grad[0]:
            how = (stride, padding, (1, 1), False, (0, 0), 1, (True, False, False))
            by_x = torch.ops.aten.convolution_backward(gradient, x, weight, None, *how)[0]
        return by_x, by_weight, None


class Up(Function):
    """conv_transpose2d without bias: both gradients share the patches of the gradient above."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, shape: Shape, output_padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        _, stride, padding, _ = shape
        return torch.conv_transpose2d(x, weight, None, stride, padding, output_padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:  # pyright: ignore
        x, weight = ctx.saved_tensors
        kernel, *_, places = ctx.shape
        seen = patches(gradient, ctx.shape)
        by_weight = weights((rows(x).t() @ seen).t(), kernel)
        return images(seen @ matrix(weight), len(x), places), by_weight, None, None
