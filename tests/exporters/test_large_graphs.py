"""Work on a graph grows with its nodes, not with their square, and ends at a number of nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest

from onnxplain.errors import ModelError
from onnxplain.exporters import instrument, survey
from onnxplain.exporters.file.model_file import load_proto
from onnxplain.exporters.file.unrolling import MOST_NODES
from onnxplain.exporters.graph.values import computed_values, is_constant
from tests.exporters.onnx_models import node, plain_model, save

FLOAT = onnx.TensorProto.FLOAT


def chain(count: int, *, backwards: bool = False) -> onnx.ModelProto:
    """Conv, `count` times Relu, a linear head; the nodes in the order of the graph, or the other way round."""
    nodes = [node("Conv", ["image", "kernel"], ["value0"], pads=[1, 1, 1, 1])]
    nodes += [node("Relu", [f"value{index}"], [f"value{index + 1}"]) for index in range(count)]
    nodes += [
        node("GlobalAveragePool", [f"value{count}"], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "weights"], ["logits"], transB=1),
    ]
    rng = np.random.default_rng(0)
    graph = onnx.helper.make_graph(
        nodes[::-1] if backwards else nodes,
        "chain",
        [onnx.helper.make_tensor_value_info("image", FLOAT, ["N", 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("logits", FLOAT, ["N", 5])],
        [
            onnx.numpy_helper.from_array(rng.normal(size=(4, 3, 3, 3)).astype(np.float32), "kernel"),
            onnx.numpy_helper.from_array(rng.normal(size=(5, 4)).astype(np.float32), "weights"),
        ],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def test_nodes_in_any_order_are_read(tmp_path: Path) -> None:
    """18,000 nodes backwards: looking through all of them once per node would take minutes."""
    path = save(chain(18_000, backwards=True), tmp_path / "chain.onnx")
    assert len(load_proto(path).graph.node) == 18_004


def test_a_long_graph_is_instrumented(tmp_path: Path) -> None:
    """1,500 nodes took 10 s when each layer was followed back to the image."""
    report = instrument(save(chain(1_500), tmp_path / "chain.onnx"), tmp_path / "out.onnx")
    assert [layer.name for layer in report.spec.layers] == ["value1500"]


@pytest.mark.parametrize("call", [lambda path: instrument(path, path.with_name("out.onnx")), survey])
def test_a_longer_one_is_refused(call, tmp_path: Path) -> None:
    path = save(chain(MOST_NODES), tmp_path / "chain.onnx")
    with pytest.raises(ModelError, match="found a graph of 20,004 nodes, expected at most 20,000"):
        call(path)


@pytest.mark.parametrize("model", [plain_model(), chain(5)], ids=["plain", "chain"])
def test_one_pass_finds_what_each_walk_finds(model: onnx.ModelProto) -> None:
    graph = ir.from_proto(model).graph
    values = {value for each in graph for value in (*each.inputs, *each.outputs) if value is not None}
    assert {value for value in values if not is_constant(value)} == computed_values(graph) & values


def cycle(model: onnx.ModelProto) -> None:
    next(each for each in model.graph.node if each.op_type == "Conv").input[0] = "pooled"


def gap(model: onnx.ModelProto) -> None:
    next(each for each in model.graph.node if each.op_type == "Flatten").input[0] = "nothing"


@pytest.mark.parametrize("damage", [cycle, gap])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_cycle_or_a_gap_is_named(damage, backwards: bool, tmp_path: Path) -> None:
    model = chain(4, backwards=backwards)
    damage(model)
    with pytest.raises(ModelError, match=r"value '.*' of node '.*' depends on itself or on nothing"):
        load_proto(save(model, tmp_path / "chain.onnx"))
