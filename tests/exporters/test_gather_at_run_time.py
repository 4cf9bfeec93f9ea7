"""Gather by indices that only the run tells, as PyTorch writes strided views of an open batch."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import pytest

from onnxplain.exporters.file.model_file import prepare
from tests.exporters.graphs import run_gradient


@pytest.mark.parametrize("elem", [onnx.TensorProto.INT64, onnx.TensorProto.INT32], ids=["int64", "int32"])
@pytest.mark.parametrize(
    ("axis", "indices"),
    [
        pytest.param(0, [2, 0, 2], id="first axis, one repeated"),
        pytest.param(1, [3, -1, 0], id="middle axis, one from the end"),
        pytest.param(-1, [[1, 0], [1, 1], [0, 1]], id="last axis, a matrix"),
        pytest.param(1, 2, id="one"),
    ],
)
def test_gradient_is_added_back(axis: int, indices: list[int] | int, elem: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 2)).astype(np.float32)
    picked = np.array(indices, onnx.helper.tensor_dtype_to_np_dtype(elem))
    cotangent = rng.normal(size=np.take(x, picked, axis).shape)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gather", ["x", "indices"], ["y"], axis=axis)],
        "gather",
        [
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4, 2]),
            onnx.helper.make_tensor_value_info("indices", elem, list(picked.shape)),
        ],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    found = run_gradient(prepare(model), "x", {"y": cotangent}, {"x": x, "indices": picked})

    expected = np.zeros(x.shape)
    front = np.moveaxis(expected, axis, 0)
    places = np.moveaxis(cotangent, range(axis % 3, axis % 3 + picked.ndim), range(picked.ndim))
    np.add.at(front, picked, places)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
