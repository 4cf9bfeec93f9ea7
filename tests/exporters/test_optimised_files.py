"""Files that ONNX Runtime's optimiser has saved: fused operators of the domain com.microsoft, in whole networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime as ort
import pytest

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT
from onnxplain.exporters import instrument
from tests.exporters.graphs import open_session, relative_error
from tests.exporters.onnx_models import plain_model

make = onnx.helper.make_node
info = onnx.helper.make_tensor_value_info
FLOAT = onnx.TensorProto.FLOAT
WIDTH, CLASSES = 8, 5


def transformer() -> onnx.ModelProto:
    """image [N, 3, 8, 6] → patches ``late`` [N, 8, 4, 3] → one block of norm, Gelu, residual → mean → logits."""
    rng = np.random.default_rng(21)
    constants = {
        "patches": rng.normal(0, 0.3, (WIDTH, 3, 2, 2)).astype(np.float32),
        "rows": np.array([0, WIDTH, -1]),
        "gamma": rng.uniform(0.5, 1.5, WIDTH).astype(np.float32),
        "beta": rng.normal(size=WIDTH).astype(np.float32),
        "w1": rng.normal(0, 0.5, (WIDTH, 2 * WIDTH)).astype(np.float32),
        "b1": rng.normal(size=2 * WIDTH).astype(np.float32),
        "w2": rng.normal(0, 0.5, (2 * WIDTH, WIDTH)).astype(np.float32),
        "axes": np.array([1]),
        "w3": rng.normal(size=(WIDTH, CLASSES)).astype(np.float32),
        "b3": rng.normal(size=CLASSES).astype(np.float32),
    }
    nodes = [
        make("Conv", ["image", "patches"], ["late"], strides=[2, 2]),
        make("Reshape", ["late", "rows"], ["columns"]),
        make("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]),
        make("LayerNormalization", ["tokens", "gamma", "beta"], ["normal"], axis=-1),
        make("MatMul", ["normal", "w1"], ["wide"]),
        make("Add", ["wide", "b1"], ["biased"]),
        make("Gelu", ["biased"], ["active"]),
        make("MatMul", ["active", "w2"], ["narrow"]),
        make("Add", ["narrow", "tokens"], ["sum"]),
        make("LayerNormalization", ["sum", "gamma", "beta"], ["last"], axis=-1),
        make("ReduceMean", ["last", "axes"], ["mean"], keepdims=0),
        make("Gemm", ["mean", "w3", "b3"], ["logits"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "transformer",
        [info("image", FLOAT, ["batch", 3, 8, 6])],
        [info("logits", FLOAT, ["batch", CLASSES])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("network", "fused"),
    [(plain_model, {"FusedConv"}), (transformer, {"BiasGelu", "SkipLayerNormalization"})],
    ids=["convolutional", "transformer"],
)
def test_the_gradients_are_those_of_the_file_before(
    network: Callable[[], onnx.ModelProto], fused: set[str], tmp_path: Path
) -> None:
    onnx.save(network(), tmp_path / "plain.onnx")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(tmp_path / "plain.onnx", options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx")
    assert {node.op_type for node in optimised.graph.node if node.domain == "com.microsoft"} == fused

    image = np.random.default_rng(3).normal(size=(2, 3, 8, 6)).astype(np.float32)
    feeds = {"image": image, TARGET_INPUT: np.array([1, 4]), EXPLAIN_INPUT: np.array([True])}
    gradients = []
    for name in ("plain", "optimised"):
        spec = instrument(tmp_path / f"{name}.onnx", tmp_path / f"{name}.explainable.onnx", layers=["late"]).spec
        session = open_session(tmp_path / f"{name}.explainable.onnx")
        gradients.append(session.run([spec.layers[0].gradients], feeds)[0])
    assert relative_error(gradients[1], gradients[0]) < 1e-5
