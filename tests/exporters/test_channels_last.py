"""Operators between two transposes have the gradients of the same operators without them.

ONNX Runtime moves transposes across operators when it loads a file, gradient branches included.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

from onnxplain.exporters import instrument
from tests.exporters.graphs import open_session
from tests.exporters.onnx_models import CONSTANTS, node


def model(operator: str, channels_last: bool) -> onnx.ModelProto:
    """image → Conv ``early`` → the operator along the width → Relu → Conv ``late`` → head."""
    width = 2 if channels_last else 3
    operands = {
        "Slice": {"starts": [1], "ends": [5], "axes": [width]},
        "Gather": {"indices": [2, 4, 4, 0]},
        "Pad": {"pads": [int(axis == width) for axis in range(4)] + [0] * 4},
    }[operator]
    attributes = {"axis": width} if operator == "Gather" else {}
    source, result = ("early_last", "moved_last") if channels_last else ("early", "moved")
    nodes = [
        node("Conv", ["image", "kernel1"], ["early"], pads=[1, 1, 1, 1]),
        node("Transpose", ["early"], ["early_last"], perm=[0, 2, 3, 1]),
        node(operator, [source, *operands], [result], **attributes),
        node("Transpose", ["moved_last"], ["moved"], perm=[0, 3, 1, 2]),
        node("Relu", ["moved"], ["kept"]),
        node("Conv", ["kept", "kernel2"], ["late"], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["late"], ["pooled"]),
        node("Flatten", ["pooled"], ["means"]),
        node("Gemm", ["means", "weights", "bias"], ["logits"], transB=1),
    ]
    if not channels_last:
        nodes = [step for step in nodes if step.op_type != "Transpose"]
    constants = {name: CONSTANTS[name] for name in ("kernel1", "kernel2", "weights", "bias")}
    constants |= {name: np.asarray(value) for name, value in operands.items()}
    graph = onnx.helper.make_graph(
        nodes,
        "channels_last",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, 8, 6])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 5])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("operator", ["Slice", "Gather", "Pad"])
def test_same_gradient(operator: str, tmp_path: Path) -> None:
    image = np.random.default_rng(3).normal(size=(2, 3, 8, 6)).astype(np.float32)
    gradients = []
    for channels_last in (False, True):
        plain, explainable = tmp_path / "plain.onnx", tmp_path / "explainable.onnx"
        onnx.save(model(operator, channels_last), plain)
        instrument(plain, explainable, layers=["early"])
        feeds = {"image": image, "target": np.array([1, 4]), "explain": np.array([True])}
        gradients.append(np.asarray(open_session(explainable).run(["gradients/early"], feeds)[0]))
    assert np.abs(gradients[0]).max() > 0
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-7)
