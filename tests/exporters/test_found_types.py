"""Types and sizes behind an operator that shape inference does not know: ONNX Runtime is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest

from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.file.sizes import open_batch
from onnxplain.exporters.graph.values import maybe_dims
from onnxplain.exporters.operators.expansion import expansion_of, is_written_out
from onnxplain.exporters.operators.table import ROWS
from tests.exporters import test_fused_integers, test_quantized_functions
from tests.exporters.cases import MADE_OF_CASES
from tests.exporters.definitions import MICROSOFT

make = onnx.helper.make_node
# The sizes in their constants are those of two images.
OF_TWO_IMAGES = ("AffineGrid", "GridSample")
WRITTEN_OUT = {
    (row.domain, row.name)
    for row in ROWS
    if row.made_of is not None or (row.domain == MICROSOFT and row.twin is not None and row.integers is not None)
}


def _written_out() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Every fused operator in a graph of its own, with a number or a symbol of images."""
    for case in MADE_OF_CASES:
        yield f"{case.id} fixed", case.model(np.float32, open_batch=False)
        if case.open_batch and case.operator not in OF_TWO_IMAGES:
            yield case.id, case.model(np.float32, open_batch=True)
    for integers in test_fused_integers.CASES:
        yield integers.name, integers.model()
    for row in test_quantized_functions.ROWS:
        yield f"{row.operator} {row.note}", row.model(np.uint8)


GRAPHS = tuple(_written_out())


def _behind_an_unknown_operator(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Every input passes through an operator of ONNX Runtime that has no row, and that onnx does not know."""
    names = [value.name for value in proto.graph.input]
    for node in proto.graph.node:
        node.input[:] = [f"unknown_{name}" if name in names else name for name in node.input]
    for name in names:
        proto.graph.node.insert(0, make("SampleOp", [name], [f"unknown_{name}"], domain=MICROSOFT))
    return proto


def test_the_graphs_cover_the_table() -> None:
    assert {(node.domain, node.op_type) for _, proto in GRAPHS for node in proto.graph.node} >= WRITTEN_OUT


@pytest.mark.parametrize("proto", [proto for _, proto in GRAPHS], ids=[name for name, _ in GRAPHS])
def test_what_a_fused_operator_is_made_of_has_types_and_sizes(
    proto: onnx.ModelProto, caplog: pytest.LogCaptureFixture
) -> None:
    graph = prepare(_behind_an_unknown_operator(proto)).graph
    batch = open_batch(graph)
    assert batch is not None
    fused = [node for node in graph if is_written_out(node) and node.op_type != "SampleOp"]
    assert fused
    for node in fused:
        with expansion_of(node, graph.opset_imports[""]) as expansion:
            assert expansion is not None
            values = [output for inner in (node, *expansion.nodes) for output in inner.outputs if output.name]
            types = {value.name: value.dtype for value in values}
            shapes = {value.name: maybe_dims(value) for value in values}
        assert None not in types.values()
        assert [name for name, shape in shapes.items() if shape is None or not all(map(batch.is_known, shape))] == []
    assert not caplog.records


# Of tokens x [N, 3, 8]. ONNX Runtime computes them, and their gradient is refused by name.
FORMS_WITHOUT_A_GRADIENT: Mapping[str, onnx.NodeProto] = {
    "causal": make("Attention", ["x", "w", "b"], ["y"], domain=MICROSOFT, num_heads=2, unidirectional=1),
    "causal heads": make("MultiHeadAttention", ["x"] * 3, ["y"], domain=MICROSOFT, num_heads=2, unidirectional=1),
    "no row": make("Inverse", ["square"], ["y"], domain=MICROSOFT),
}


@pytest.mark.parametrize("batch", [2, "N"])
@pytest.mark.parametrize("form", FORMS_WITHOUT_A_GRADIENT)
def test_types_and_sizes_behind_a_form_without_a_gradient(form: str, batch: int | str) -> None:
    nodes = [
        make("Slice", ["x", "zero", "three", "last"], ["square"]),
        FORMS_WITHOUT_A_GRADIENT[form],
        make("Add", ["y", "y"], ["twice"]),
        make("ReduceSum", ["twice", "last"], ["sums"], keepdims=1),
        make("Add", ["sums", "x"], ["skip"]),
        make("SkipLayerNormalization", ["x", "skip", "gamma"], ["z"], domain=MICROSOFT),
    ]
    rng = np.random.default_rng(2)
    constants: dict[str, np.ndarray] = {
        **{"zero": np.array([0]), "three": np.array([3]), "last": np.array([2]), "gamma": np.ones(8, np.float32)},
        **{"w": rng.normal(size=(8, 24)).astype(np.float32), "b": np.zeros(24, np.float32)},
    }
    graph = onnx.helper.make_graph(
        nodes,
        "form",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 3, 8])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [batch, 3, 8])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid(MICROSOFT, 1)]
    model = prepare(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10))
    found = {output.name: output for node in model.graph for output in node.outputs}
    assert {value.dtype for value in found.values()} == {ir.DataType.FLOAT}
    last = 3 if form == "no row" else 8
    expected = {"square": 3, "y": last, "twice": last, "sums": 1, "skip": 8, "z": 8}
    assert {name: maybe_dims(value) for name, value in found.items()} == {
        name: (batch, 3, size) for name, size in expected.items() if name in found
    }
