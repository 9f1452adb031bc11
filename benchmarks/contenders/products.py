"""Convolutions as matrix products of patches, where oneDNN is slow: gradients by weights, and pictures no larger than a kernel.

Patches are rows: x (B, C, H, W), channels last, becomes (B * oh * ow, k * k * C).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function


def patches(x: Tensor, kernel: int, stride: int, padding: int, out: tuple[int, int]) -> Tensor:
    """What each of the `out` (oh, ow) places of a convolution sees."""
    x = x.permute(0, 2, 3, 1)
    images, height, width, channels = x.shape
    high, wide = ((places - 1) * stride + kernel for places in out)
    x = F.pad(x, (0, 0, padding, wide - width - padding, padding, high - height - padding)).contiguous()
    steps = (high * wide * channels, stride * wide * channels, stride * channels, wide * channels, channels, 1)
    return x.as_strided((images, *out, kernel, kernel, channels), steps).reshape(-1, kernel * kernel * channels)


def rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B * H * W, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def pictures(found: Tensor, images: int, size: tuple[int, int]) -> Tensor:
    """(B * H * W, C) -> (B, C, H, W), channels last."""
    return found.view(images, *size, -1).permute(0, 3, 1, 2)


def matrix(weight: Tensor) -> Tensor:
    """(O, C, k, k) -> (k * k * C, O), as patches want it."""
    return weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])


class Down(Function):
    """conv2d without bias."""

    @staticmethod
    def forward(ctx, x, weight, stride, padding):
        kernel = weight.shape[-1]
        out = tuple((side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:])
        ctx.save_for_backward(x, weight)
        ctx.how = kernel, stride, padding, out
        if out == (1, 1):
            return pictures(patches(x, *ctx.how) @ matrix(weight), len(x), out)
        return torch.conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        kernel, stride, padding, out = ctx.how
        g, by_x = rows(gradient), None
        by_weight = (patches(x, *ctx.how).t() @ g).view(kernel, kernel, x.shape[1], -1).permute(3, 2, 0, 1)
        if ctx.needs_input_grad[0] and out == (1, 1):
            spread = (g @ matrix(weight).t()).view(len(x), kernel, kernel, -1).permute(0, 3, 1, 2)
            more = [max(0, side + padding - kernel) for side in x.shape[2:]]
            by_x = F.pad(spread, (0, more[1], 0, more[0]))
            by_x = by_x[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]]
        elif ctx.needs_input_grad[0]:
            pairs = (stride, stride), (padding, padding), (1, 1), False, (0, 0), 1, (True, False, False)
            by_x = torch.ops.aten.convolution_backward(gradient, x, weight, None, *pairs)[0]
        return by_x, by_weight, None, None


class Up(Function):
    """conv_transpose2d without bias: both gradients share the patches of the gradient above."""

    @staticmethod
    def forward(ctx, x, weight, stride, padding, extra):  # noqa: PLR0917 - apply() has no names
        ctx.save_for_backward(x, weight)
        ctx.how = weight.shape[-1], stride, padding
        return torch.conv_transpose2d(x, weight, None, stride, padding, extra)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        kernel, size = weight.shape[-1], tuple(x.shape[2:])
        seen = patches(gradient, *ctx.how, size)
        by_weight = (rows(x).t() @ seen).view(x.shape[1], kernel, kernel, -1).permute(0, 3, 1, 2)
        return pictures(seen @ matrix(weight), len(x), size), by_weight, None, None, None


def by_products(net: nn.Module) -> None:
    """Let the convolutions of a net run that way, in bf16; its parameters stay what they are."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.forward = lambda x, its=layer: (
                run(its, x.bfloat16(), its.weight.bfloat16()) + its.bias[:, None, None].bfloat16()
            )


def run(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, weight: Tensor) -> Tensor:
    stride, padding = layer.stride[0], layer.padding[0]
    if isinstance(layer, nn.ConvTranspose2d):
        return Up.apply(x, weight, stride, padding, layer.output_padding[0])
    return Down.apply(x, weight, stride, padding)
