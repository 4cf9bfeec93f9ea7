"""What is read of a file without the onnx package, held against that package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxplain
from onnxplain.runtime.protobuf.graph_reader import read_graph, without_initializers
from onnxplain.runtime.protobuf.wire import WireError
from tests.models import ExplainableModel

INT8 = np.array([[-128, 127], [0, -1]], np.int8)
UINT8 = np.array([0, 128, 255], np.uint8)


def tiny_model() -> onnx.ModelProto:
    """Constants of several types, stored raw, in fields, in another file and in a Constant node."""
    listed = helper.make_tensor("listed", TensorProto.INT8, [4], [-128, -1, 0, 127])
    external = numpy_helper.from_array(INT8, "external")
    external.ClearField("raw_data")
    external.data_location = TensorProto.EXTERNAL
    external.external_data.add(key="location", value="elsewhere")
    nodes = [
        helper.make_node("Constant", [], ["constant"], value=numpy_helper.from_array(UINT8)),
        helper.make_node("Constant", [], ["float"], value_float=1.0),
        helper.make_node("MatMulInteger", ["x", "raw", "", "zero"], ["y"], name="product"),
        helper.make_node("Clip", ["y"], ["z"], domain="some.where"),
    ]
    tensors = [numpy_helper.from_array(INT8, "raw"), listed, external, numpy_helper.from_array(np.int8(-3), "zero")]
    tensors.append(numpy_helper.from_array(np.ones((300, 2), np.float32), "weights"))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "grün", [info("x", TensorProto.UINT8, ["N", 2])], [info("z", TensorProto.INT32, None)], tensors
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"onnxplain": "{}", "other": "ü"})
    return model


def test_names() -> None:
    model = tiny_model()
    found = read_graph(model.SerializeToString())
    expected = [(node.op_type, tuple(node.input), tuple(node.output)) for node in model.graph.node]
    assert [(node.operator, node.inputs, node.outputs) for node in found.nodes] == expected
    assert (found.inputs, found.outputs, found.metadata) == (("x",), ("z",), ("onnxplain", "other"))
    assert found.initializers == ("raw", "listed", "external", "zero", "weights")


def test_constants_of_eight_bits() -> None:
    found = read_graph(tiny_model().SerializeToString()).eight_bit
    expected = {
        "raw": INT8.ravel(),
        "listed": np.array([-128, -1, 0, 127], np.int8),
        "external": np.array([-128, 127], np.int8),
        "zero": np.array([-3], np.int8),
        "constant": UINT8,
    }
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("names", [(), ("listed",), ("raw", "weights"), ("none such",), ("x", "z")])
def test_without_initializers_every_other_byte_stays(names: tuple[str, ...]) -> None:
    model = tiny_model()
    found = without_initializers(model.SerializeToString(), names)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in names]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    assert found == model.SerializeToString()


def test_files_of_every_kind(tmp_path: Path) -> None:
    package = Path(onnxplain.__file__).parent
    ExplainableModel().write(tmp_path / "explainable.onnx")
    for path in (*package.rglob("*.onnx"), tmp_path / "explainable.onnx"):
        data, model = path.read_bytes(), onnx.load(path)
        found = read_graph(data)
        assert [node.operator for node in found.nodes] == [node.op_type for node in model.graph.node]
        assert list(found.initializers) == [tensor.name for tensor in model.graph.initializer]
        assert list(found.outputs) == [value.name for value in model.graph.output]
        dropped = onnx.load_from_string(without_initializers(data, found.initializers))
        assert not dropped.graph.initializer and dropped.graph.node == model.graph.node


@pytest.mark.parametrize(
    ("data", "found"),
    [(b"", "0 graphs"), (tiny_model().SerializeToString() * 2, "2 graphs"), (b"a text, not a model", "found")],
)
def test_bytes_that_are_no_model(data: bytes, found: str) -> None:
    for read in (read_graph, lambda model: without_initializers(model, ("raw",))):
        with pytest.raises(WireError, match=found):
            read(data)
