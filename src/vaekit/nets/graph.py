"""A net as a list of operations, as an ONNX file has it: for feature nets that were trained elsewhere, with gradients.

https://onnx.ai/onnx/operators. Only what convolutional and fully connected nets are made of, and only fp32.
"""

from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import DataError, UsageError
from ..part import Part, known

FLOAT = 1  # ONNX's number for fp32
SOFTMAX = 13  # from this version of the operations on it means what torch means


class Graph(Part):
    """An image tensor (B, *size) to the tensors that are called `outputs`.

    `nodes`: operation, names of what it takes, names of what it gives, its settings as pairs. `weights`: name and shape of each;
    `numbers`: name and value of each setting.
    """

    size: tuple[int, int, int]
    source: str
    nodes: tuple
    weights: tuple
    numbers: tuple
    outputs: tuple[str, ...]

    def __post_init__(self):
        for operation, *_ in self.nodes:
            if operation not in OPERATIONS:
                told = f"The net uses the operation {operation!r}, which is not among those that can be read"
                raise UsageError(f"{told}. {known(operation, OPERATIONS)} Export it up to there.")
        for place, (_, shape) in enumerate(self.weights):
            self.register_buffer(f"weight{place}", torch.empty(*shape))

    def forward(self, x: Tensor) -> list[Tensor]:
        values: dict[str, Any] = {"": None, self.source: x, **dict(self.numbers)}
        values |= {name: getattr(self, f"weight{place}") for place, (name, _) in enumerate(self.weights)}
        for operation, takes, gives, settings in self.nodes:
            values[gives[0]] = OPERATIONS[operation](*(values[name] for name in takes), **dict(settings))
        return [values[name] for name in self.outputs]


def read_onnx(file: Path, image: tuple[int, int, int]) -> Graph:
    """The net of an .onnx file with its weights; where it takes images of any height and width, those of `image`.

    Raises DataError on a file that holds none, UsageError on a net with operations that are not read, or with other inputs than
    one batch of images.
    """
    try:
        import onnx
    except ImportError as error:
        raise UsageError(f"To read {file} takes the package onnx. Install it: pip install onnx") from error
    try:
        model = onnx.load(file)
        graph = model.graph
        constants = {its.name: onnx.numpy_helper.to_array(its) for its in graph.initializer}
        nodes = []
        for node in graph.node:
            settings = {its.name: plain(onnx.helper.get_attribute_value(its)) for its in node.attribute}
            if node.op_type == "Constant":
                value = settings.popitem()[1]
                constants[node.output[0]] = onnx.numpy_helper.to_array(value) if hasattr(value, "dims") else np.array(value)
            else:
                nodes.append((node.op_type, tuple(node.input), tuple(node.output), tuple(settings.items())))
    except Exception as error:  # protobuf's own kinds
        raise DataError(f"{file} is no ONNX file ({type(error).__name__}: {error}). Export the net again.") from error
    version = max((its.version for its in model.opset_import if its.domain in ("", "ai.onnx")), default=0)
    if version < SOFTMAX and any(operation == "Softmax" for operation, *_ in nodes):
        raise UsageError(f"The net in {file} has a Softmax of operations {version}; expected {SOFTMAX} or later. Export it so.")
    given = [its for its in graph.input if its.name not in constants]
    sizes = [[d.dim_value for d in its.type.tensor_type.shape.dim] for its in given]
    if len(given) != 1 or len(sizes[0]) != 4 or not sizes[0][1]:
        told = ", ".join(f"{its.name} {size}" for its, size in zip(given, sizes, strict=True))
        raise UsageError(
            f"The net in {file} takes {told or 'nothing'}; expected one batch of images, (B, C, H, W). Export it so."
        )
    _, channels, height, width = sizes[0]
    large = {name: its for name, its in constants.items() if its.dtype.kind == "f" and (its.ndim or not np.isfinite(its))}
    net = Graph(
        size=(channels, height or image[1], width or image[2]),
        source=given[0].name,
        nodes=tuple(nodes),
        weights=tuple((name, tuple(its.shape)) for name, its in large.items()),
        numbers=tuple((name, its.tolist()) for name, its in constants.items() if name not in large),
        outputs=tuple(its.name for its in graph.output),
    )
    net.load_state_dict({f"weight{place}": torch.from_numpy(its.copy()).float() for place, its in enumerate(large.values())})
    try:
        check_apart(net)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        told = f"The net in {file} cannot be computed here ({type(error).__name__}: {error})"
        raise UsageError(f"{told}. Export it for a batch of any size, without operations on shapes.") from error
    return net


@torch.no_grad()
def check_apart(net: Graph) -> None:
    """Raises ValueError where an output is not one of each image, whatever its batch-mates."""
    pair = torch.rand(2, *net.size, generator=torch.Generator().manual_seed(0))
    for name, both, alone in zip(net.outputs, net(pair), net(pair[:1]), strict=True):
        refuse(
            f"the output {name!r}, which is no batch of features,",
            not isinstance(both, Tensor) or both.dim() < 2 or len(both) != 2,
        )
        refuse(f"the output {name!r}, which mixes images,", not torch.allclose(both[:1], alone, rtol=1e-3, atol=1e-4))


def plain(value: Any) -> Any:
    """A setting as JSON has it."""
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


# Operations, with the names and defaults of their settings in ONNX


def padded(x: Tensor, pads: Sequence[int] | None, fill: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """x, and how far the operation itself is to pad it; what is not the same on both sides is done here."""
    top, left, bottom, right = pads or (0, 0, 0, 0)
    if (top, left) == (bottom, right) and fill == 0:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=fill), (0, 0)


def refuse(what: str, wrong: bool) -> None:
    if wrong:
        raise ValueError(f"{what} is not read")


def conv(x, w, b=None, *, kernel_shape=None, strides=(1, 1), pads=None, dilations=(1, 1), group=1, auto_pad="NOTSET"):
    refuse("a convolution in other than two dimensions, or with auto_pad", w.dim() != 4 or auto_pad not in ("NOTSET", "VALID"))
    x, padding = padded(x, pads)
    return F.conv2d(x, w, b, tuple(strides), padding, tuple(dilations), group)


def max_pool(x, *, kernel_shape, strides=(1, 1), pads=None, dilations=(1, 1), ceil_mode=0, storage_order=0, auto_pad="NOTSET"):
    refuse("auto_pad", auto_pad not in ("NOTSET", "VALID"))
    x, _ = padded(x, pads, -torch.inf) if pads and any(pads) else (x, None)
    return F.max_pool2d(x, kernel_shape, strides, 0, dilations, bool(ceil_mode))


def average_pool(x, *, kernel_shape, strides=(1, 1), pads=None, count_include_pad=0, ceil_mode=0, auto_pad="NOTSET"):
    top, left, bottom, right = pads or (0, 0, 0, 0)
    refuse("pooling with auto_pad or uneven padding", auto_pad not in ("NOTSET", "VALID") or (top, left) != (bottom, right))
    return F.avg_pool2d(x, kernel_shape, strides, (top, left), bool(ceil_mode), bool(count_include_pad))


def batch_norm(x, scale, bias, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0):
    refuse("a batch norm that still learns", bool(training_mode))
    return F.batch_norm(x, mean, var, scale, bias, eps=epsilon)


def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    product = alpha * (a.T if transA else a) @ (b.T if transB else b)
    return product if c is None else product + beta * c


def reshape(x, shape, *, allowzero=0):
    return x.reshape([x.shape[place] if size == 0 and not allowzero else size for place, size in enumerate(shape)])


def clip(x, low=None, high=None, **settings):
    return x.clamp(settings.get("min", low), settings.get("max", high))


def reduce_mean(x, given=None, *, axes=None, keepdims=1, noop_with_empty_axes=0):
    refuse("a mean over no axes", bool(noop_with_empty_axes))
    over = tuple(given or axes or range(x.dim()))
    return x.mean(over, keepdim=bool(keepdims))


def pad(x, given=None, value=0.0, axes=None, *, mode="constant", **settings):
    pads: Sequence[int] = settings.get("pads", given) or ()
    refuse("padding of chosen axes", axes is not None)
    half = len(pads) // 2
    pairs = [n for place in reversed(range(half)) for n in (pads[place], pads[half + place])]
    kind = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[mode]
    if kind == "constant":
        return F.pad(x, pairs, value=settings.get("value", value) or 0.0)
    refuse("padding of batch or channels", any(pairs[4:]))
    return F.pad(x, pairs[:4], mode=kind)


def both(function: Callable) -> Callable:
    """Of two things of which one may be a setting."""

    def apply(a, b):
        like = a if isinstance(a, Tensor) else b
        return function(*(torch.as_tensor(each, dtype=like.dtype, device=like.device) for each in (a, b)))

    return apply


def cast(x, *, to, **settings):
    refuse("a cast to anything but fp32", to != FLOAT)
    return x


def axes_of(x: Tensor, given: Sequence[int] | None, axes: Sequence[int] | None) -> Sequence[int]:
    found = given or axes
    return [place for place, size in enumerate(x.shape) if size == 1] if found is None else found


OPERATIONS: dict[str, Callable[..., Any]] = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": both(torch.matmul),
    "BatchNormalization": batch_norm,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda x: x.amax((2, 3), keepdim=True),
    "ReduceMean": reduce_mean,
    "Add": both(torch.add),
    "Sub": both(torch.sub),
    "Mul": both(torch.mul),
    "Div": both(torch.div),
    "Pow": both(torch.pow),
    "Relu": torch.relu,
    "LeakyRelu": lambda x, *, alpha=0.01: F.leaky_relu(x, alpha),
    "Elu": lambda x, *, alpha=1.0: F.elu(x, alpha),
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Softplus": F.softplus,
    "HardSigmoid": lambda x, *, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0, 1),
    "HardSwish": F.hardswish,
    "Gelu": lambda x, *, approximate="none": F.gelu(x, approximate=approximate),
    "Erf": torch.erf,
    "Sqrt": torch.sqrt,
    "Exp": torch.exp,
    "Neg": torch.neg,
    "Softmax": lambda x, *, axis=-1: x.softmax(axis),
    "Clip": clip,
    "Concat": lambda *xs, axis: torch.cat(xs, axis),
    "Flatten": lambda x, *, axis=1: x.reshape(prod(x.shape[:axis]), -1),
    "Reshape": reshape,
    "Transpose": lambda x, *, perm: x.permute(perm),
    "Squeeze": lambda x, given=None, *, axes=None: x.squeeze(tuple(axes_of(x, given, axes))),
    "Unsqueeze": lambda x, given=None, *, axes=(): x.reshape(unsqueezed(x.shape, given or axes)),
    "Pad": pad,
    "Identity": lambda x: x,
    "Dropout": lambda x, *_, **settings: x,
    "Cast": cast,
}


def unsqueezed(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    found = list(shape)
    for axis in sorted(axis % (len(shape) + len(axes)) for axis in axes):
        found.insert(axis, 1)
    return found
