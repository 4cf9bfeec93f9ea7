"""An NHWC network as TensorFlow's converters write it, its pads computed in the graph, against torch.autograd."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import torch
from torch.nn import functional

from onnxplain.exporters import instrument
from tests.exporters.graphs import open_session, relative_error
from tests.exporters.onnx_models import save

node = onnx.helper.make_node
CLASSES, MAPS, SIZE = 5, (3, 6, 8, 8), 21
RNG = np.random.default_rng(8)
KERNELS = [RNG.normal(0, 0.3, (after, before, 3, 3)).astype(np.float32) for before, after in pairwise(MAPS)]
WEIGHTS = RNG.normal(size=(MAPS[-1], CLASSES)).astype(np.float32)
CONSTANTS = {
    "six": [6],
    "ends": [0, 1, 1, 0],
    "four": [4],
    "pairs": [-1, 2],
    "far": [-(2**63)],
    "minus": [-1],
    "zero": [0],
    "one": [1],
    "two": [2],
    "three": [3],
}


def pads_from_constants(name: str) -> list[onnx.NodeProto]:
    """As torch's exporter: [left, right, top, bottom] filled up with zeros, turned round, the begins first.

    ConstantOfShape → Concat → Reshape → Slice with step −1 → Transpose → Reshape → Cast.
    """
    return [
        node("ConstantOfShape", ["four"], [f"{name}/zeros"], value=onnx.numpy_helper.from_array(np.zeros(1, np.int64))),
        node("Concat", ["ends", f"{name}/zeros"], [f"{name}/flat"], axis=0),
        node("Reshape", [f"{name}/flat", "pairs"], [f"{name}/rows"]),
        node("Slice", [f"{name}/rows", "minus", "far", "zero", "minus"], [f"{name}/turned"]),
        node("Transpose", [f"{name}/turned"], [f"{name}/columns"], perm=[1, 0]),
        node("Reshape", [f"{name}/columns", "minus"], [f"{name}/line"]),
        node("Cast", [f"{name}/line"], [f"{name}/pads"], to=onnx.TensorProto.INT64),
    ]


def pads_from_shape(name: str, source: str) -> list[onnx.NodeProto]:
    """ "SAME" with stride 2: max((⌈s / 2⌉ − 1) · 2 + 3 − s, 0), the larger half behind; s is read from the image."""
    nodes = [node("Shape", [source], [f"{name}/shape"]), node("Slice", [f"{name}/shape", "two", "four"], [f"{name}/s"])]
    steps = [
        ("Add", "s", "one", "more"),
        ("Div", "more", "two", "halved"),
        ("Sub", "halved", "one", "steps"),
        ("Mul", "steps", "two", "moved"),
        ("Add", "moved", "three", "reach"),
    ]
    nodes += [node(op, [f"{name}/{left}", right], [f"{name}/{to}"]) for op, left, right, to in steps]
    return [
        *nodes,
        node("Sub", [f"{name}/reach", f"{name}/s"], [f"{name}/lacking"]),
        node("Max", [f"{name}/lacking", "zero"], [f"{name}/total"]),
        node("Div", [f"{name}/total", "two"], [f"{name}/before"]),
        node("Sub", [f"{name}/total", f"{name}/before"], [f"{name}/after"]),
        node("ConstantOfShape", ["two"], [f"{name}/none"], value=onnx.numpy_helper.from_array(np.zeros(1, np.int64))),
        node("Concat", [f"{name}/{part}" for part in ("none", "before", "none", "after")], [f"{name}/pads"], axis=0),
    ]


def model(batch: int | str) -> onnx.ModelProto:
    """image [N, 21, 21, 3] → three times Transpose, Pad, Conv, Transpose, Softplus → mean → MatMul."""
    nodes: list[onnx.NodeProto] = []
    source = "image"
    for index in range(len(KERNELS)):
        name = f"c{index}"
        nodes.append(node("Transpose", [source], [f"{name}/nchw"], perm=[0, 3, 1, 2]))
        strides = [1, 1] if index == 1 else [2, 2]
        nodes += pads_from_constants(name) if index == 1 else pads_from_shape(name, f"{name}/nchw")
        nodes += [
            node("Pad", [f"{name}/nchw", f"{name}/pads"], [f"{name}/padded"]),
            node("Conv", [f"{name}/padded", f"kernel{index}"], [f"{name}/conv"], strides=strides),
            node("Transpose", [f"{name}/conv"], [f"{name}/nhwc"], perm=[0, 2, 3, 1]),
            node("Softplus", [f"{name}/nhwc"], [f"{name}/out"]),
        ]
        source = f"{name}/out"
    nodes += [node("ReduceMean", [source, "areas"], ["means"], keepdims=0), node("MatMul", ["means", "w"], ["logits"])]
    stored = {name: np.array(value, np.int64) for name, value in (*CONSTANTS.items(), ("areas", [1, 2]))}
    stored |= {f"kernel{index}": kernel for index, kernel in enumerate(KERNELS)} | {"w": WEIGHTS}
    graph = onnx.helper.make_graph(
        nodes,
        "nhwc",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [batch, SIZE, SIZE, MAPS[0]])],
        [onnx.ValueInfoProto(name="logits")],
        [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def same_pads(size: int) -> tuple[int, int]:
    total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
    return total // 2, total - total // 2


def autograd(image: np.ndarray, targets: Sequence[int], layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Map `layer` and the gradient of each target by it, in float64."""
    x = torch.tensor(image, dtype=torch.float64).permute(0, 3, 1, 2).requires_grad_()
    maps = []
    for index, kernel in enumerate(KERNELS):
        sides = (0, 1, 1, 0) if index == 1 else (*same_pads(x.shape[3]), *same_pads(x.shape[2]))
        stride = 1 if index == 1 else 2
        x = functional.softplus(
            functional.conv2d(functional.pad(x, sides), torch.tensor(kernel).double(), stride=stride)
        )
        maps.append(x)
    logits = x.mean((2, 3)) @ torch.tensor(WEIGHTS).double()
    (gradient,) = torch.autograd.grad(logits[range(len(targets)), targets].sum(), maps[layer])
    return maps[layer].detach().numpy(), gradient.numpy()


@pytest.mark.parametrize("batch", [1, 4, "N"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_gradient(batch: int | str, layer: int, tmp_path: Path) -> None:
    plain = save(model(batch), tmp_path / "plain.onnx")
    report = instrument(plain, tmp_path / "explainable.onnx", layers=(f"c{layer}/out",), tail=False)
    assert report.notes == ()
    (spec,) = report.spec.layers
    image = np.random.default_rng(1).normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)
    targets = [0, 3, 4]
    feeds = {"image": image, "target": np.array(targets), "explain": np.array([True])}
    features, gradients = open_session(tmp_path / "explainable.onnx").run([spec.features, spec.gradients], feeds)
    expected = autograd(image, targets, layer)
    assert relative_error(np.asarray(features), expected[0]) < 1e-5
    assert relative_error(np.asarray(gradients), expected[1]) < 1e-4
