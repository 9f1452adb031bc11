"""Nets out of ONNX files: what they compute is what ONNX says they do, with gradients, and whole trainings can ask them."""

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn
from torch.nn import functional as F

from vaekit.errors import DataError, UsageError
from vaekit.nets.judge import judge_from
from vaekit.objectives.perceptual import seen_apart
from vaekit.part import build, describe
from vaekit.recipes import cook
from vaekit.stored import load_part, save_part

RNG = np.random.default_rng(0)
IMAGE = (3, 16, 12)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def saved(path, nodes, constants=None, outputs=("out",), shape=("batch", *IMAGE)):
    """An .onnx file that takes `x`."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def node(operation: str, *takes: str, gives: str = "out", **settings):
    return helper.make_node(operation, list(takes), [gives], **settings)


POOLED = (1, 1, 1, 1)
CASES = {
    "a convolution": (
        [node("Conv", "x", "w", "b", strides=[2, 1], pads=[1, 0, 1, 0])],
        {"w": normal(5, 3, 3, 3), "b": normal(5)},
    ),
    "padded on one side": ([node("Conv", "x", "w", pads=[0, 0, 1, 2], dilations=[2, 1])], {"w": normal(4, 3, 3, 3)}),
    "in groups": ([node("Conv", "x", "w", group=3)], {"w": normal(6, 1, 2, 2)}),
    "max pooling": ([node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "max pooling, uneven": ([node("MaxPool", "x", kernel_shape=[2, 3], strides=[2, 2], pads=[0, 1, 1, 1])], {}),
    "mean pooling": ([node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "mean pooling with the edge": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
        {},
    ),
    "batch norm": (
        [node("BatchNormalization", "x", "s", "b", "m", "v", epsilon=1e-3)],
        {"s": normal(3), "b": normal(3), "m": normal(3), "v": np.abs(normal(3))},
    ),
    "fully connected": (
        [node("Flatten", "x", gives="h"), node("Gemm", "h", "w", "b", transB=1, alpha=0.5)],
        {"w": normal(20, 576), "b": normal(20)},
    ),
    "few weights": ([node("Conv", "x", "w", "b")], {"w": normal(2, 3, 1, 1), "b": normal(2)}),
    "fully connected, few": (
        [node("GlobalAveragePool", "x", gives="m"), node("Flatten", "m", gives="h"), node("Gemm", "h", "w", "b")],
        {"w": normal(3, 4), "b": normal(4)},
    ),
    "flattened further on": ([node("Flatten", "x", gives="h", axis=-1), node("Reshape", "h", "n")], {"n": np.array([-1, 576])}),
    "a product": (
        [node("Reshape", "x", "n", gives="h"), node("MatMul", "h", "w")],
        {"w": normal(576, 4), "n": np.array([0, -1])},
    ),
    "normalised": (
        [node("Sub", "x", "m", gives="h"), node("Div", "h", "s")],
        {"m": normal(1, 3, 1, 1), "s": np.abs(normal(1, 3, 1, 1)) + 1},
    ),
    "means": ([node("ReduceMean", "x", axes=[2, 3], keepdims=0)], {}),
    "a mean over places": ([node("GlobalAveragePool", "x")], {}),
    "clipped": ([node("Clip", "x", "a", "b")], {"a": np.float32(0.2), "b": np.float32(0.7)}),
    "side by side": ([node("Relu", "x", gives="a"), node("Sigmoid", "x", gives="b"), node("Concat", "a", "b", axis=1)], {}),
    "padding": ([node("Pad", "x", "p", mode="reflect")], {"p": np.array([0, 0, 1, 2, 0, 0, 0, 1])}),
    "axes": ([node("Unsqueeze", "x", "a", gives="h"), node("Squeeze", "h", "a")], {"a": np.array([2])}),
    "turned": ([node("Transpose", "x", perm=[0, 1, 3, 2])], {}),
    **{
        name: ([node(name, "x", **settings)], {})
        for name, settings in {
            "Relu": {},
            "LeakyRelu": {"alpha": 0.3},
            "Elu": {},
            "Sigmoid": {},
            "Tanh": {},
            "Softplus": {},
            "HardSigmoid": {},
            "HardSwish": {},
            "Erf": {},
            "Sqrt": {},
            "Exp": {},
            "Neg": {},
            "Softmax": {"axis": 1},
            "Identity": {},
            "GlobalMaxPool": {},
        }.items()
    },
}


@pytest.mark.parametrize("case", CASES)
def test_an_operation_is_that_of_onnx(case, tmp_path):
    file = saved(tmp_path / "net.onnx", *CASES[case])
    x = np.abs(normal(3, *IMAGE)) if case == "Sqrt" else normal(3, *IMAGE)
    (expected,) = ReferenceEvaluator(str(file)).run(None, {"x": x})
    (found,) = judge_from(file, IMAGE).graph(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


class Trunk(nn.Module):
    """As somebody would export the first layers of a net: normalisation inside, several maps out."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.two = nn.Conv2d(6, 8, 3, stride=2, padding=1)

    def forward(self, x):
        x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / 0.225
        first = F.relu(self.norm(self.one(x)))
        return first, F.silu(self.two(F.max_pool2d(first, 2)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    trunk = Trunk().eval()
    with torch.no_grad():
        trunk.norm.running_mean.normal_()
    file = tmp_path_factory.mktemp("onnx") / "trunk.onnx"
    dim = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own code
        torch.onnx.export(trunk, (torch.rand(2, *IMAGE),), file, dynamo=True, dynamic_shapes={"x": {0: dim}}, verbose=False)
    return file, trunk


def test_what_torch_exports_comes_back_with_its_gradients(exported, tmp_path):
    file, trunk = exported
    net = judge_from(file, IMAGE)
    x, other = torch.rand(5, *IMAGE, requires_grad=True), torch.rand(5, *IMAGE)
    for mine, theirs in zip(net.layers(x), trunk(x), strict=True):
        torch.testing.assert_close(mine, theirs)
    apart = seen_apart(net, x, other).sum()
    assert torch.autograd.grad(apart, x)[0].abs().sum() > 0
    assert net.embed(x).shape == (5, 8)
    save_part(tmp_path / "net.safetensors", net)  # the ONNX file is not needed any more
    again = load_part(tmp_path / "net.safetensors")
    torch.testing.assert_close(again.embed(x), net.embed(x))
    assert describe(build(describe(net))) == describe(net)


@pytest.mark.parametrize("image", [(1, 16, 12), (3, 20, 30), (4, 16, 12), (1, 9, 9)])
def test_images_of_another_shape_are_brought_to_what_it_takes(exported, image):
    net = judge_from(exported[0], image)
    assert net.layers(torch.rand(2, *image))[0].shape == (2, 6, 16, 12)


def test_a_recipe_learns_from_it(exported):
    made = cook("perceptual", (1, 8, 8), {"features": exported[0], "net": "mlp"})
    terms = made.objective(made.objective.look(made.model, torch.rand(4, 1, 8, 8)), None)
    terms["features"].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in made.model.decoder.parameters())
    assert made.weights
    assert all(name.startswith("objective.judge.") for name in made.weights)


def test_files_that_are_no_such_net(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no net at all")
    with pytest.raises(DataError, match="is no ONNX file"):
        judge_from(tmp_path / "broken.onnx", IMAGE)
    for nodes, shape, told in (
        ([node("NonZero", "x")], ("batch", *IMAGE), "the operation 'NonZero'"),
        ([node("Relu", "x")], ("batch", 16), "expected one batch of images"),
        ([node("Reshape", "x", "n")], ("batch", *IMAGE), "is no batch of features"),
        ([node("ReduceMean", "x", axes=[0])], ("batch", *IMAGE), "is no batch of features"),
        ([node("Softmax", "x", axis=0)], ("batch", *IMAGE), "mixes images"),
        ([node("Cast", "x", to=TensorProto.INT64)], ("batch", *IMAGE), "a cast to anything but fp32"),
    ):
        file = saved(tmp_path / "net.onnx", nodes, {"n": np.array([1, -1])} if "Reshape" in str(nodes) else {}, shape=shape)
        with pytest.raises(UsageError, match=told):
            judge_from(file, IMAGE)
