"""The end of a file's graph, read without onnx, tells the same heads as the exporters' graph does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

from onnxplain.contract import FoundHeads, ImageInput, tell_heads
from onnxplain.contract.heads.twins import standard_operator
from onnxplain.exporters.anatomy.graph_end import read_graph_end
from onnxplain.exporters.anatomy.inputs import find_image_value
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.operators.table import ROWS
from onnxplain.runtime.heads.graph_end import FileEnd
from onnxplain.runtime.protobuf.end_reader import read_file_graph
from onnxplain.runtime.sessions.session import Session, open_session
from tests.exporters.heads.graph_ends import end_model
from tests.exporters.heads.test_graph_ends import ENDS

FILES = (
    *("cifar10_pytorch_winml.onnx", "cifar10_resnet20_dynamo_op18.onnx", "cifar10_resnet20_ts_op11.onnx"),
    *("mnist_cntk.onnx", "mobilenet_v1_0.25_128_float.onnx", "mobilenet_v1_0.5_160_qdq.onnx", "paddle_ppocr_cls.onnx"),
    *("squeezenet_fp16_winml.onnx", "vww_96_float.onnx", "FastestDet.onnx", "ultraface_RFB-320.onnx"),
)


def image_of(session: Session) -> ImageInput:
    """The first input, of any size."""
    shape = session.get_inputs()[0].shape
    batch = shape[0] if isinstance(shape[0], int) and len(shape) == 4 else None
    return ImageInput(session.get_inputs()[0].name, "float32", "nchw", batch, "rgb", (32, 32))


def runtime_end(path: Path):
    session = open_session(path, ["cpu"], 1)
    image = image_of(session)

    def zeros():
        dtype = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(session.get_inputs()[0].type, np.float32)
        shape = [1 if not isinstance(side, int) else side for side in session.get_inputs()[0].shape]
        return {image.name: np.zeros(shape, dtype)}

    return FileEnd(session, path, image, zeros).whole


def described(found: FoundHeads) -> tuple[list[object], list[tuple[str, str]]]:
    """What is told, without the names of inner values: each side names those of functions in its own way."""
    heads = [
        (head.name, head.kind, head.size, head.evidence, head.outputs, head.map_size_hw, head.sigmoid)
        for head in found.heads
    ]
    return heads, [(each.value.name, each.fault.name) for each in found.unused]


# A plain file has no output for an inner value; only exporters look at its shape.
@pytest.mark.parametrize("name", [name for name in ENDS if not name.startswith("an inner value")])
def test_both_ends_tell_the_same(tmp_path, name):
    row = ENDS[name]
    model = end_model(row.nodes, row.outputs, opset=row.opset, image=row.image, decoder=row.decoder)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    graph = prepare(model).graph
    told = tell_heads(read_graph_end(graph, find_image_value(graph)[1]), row.stated, row.read)
    found = tell_heads(runtime_end(path), row.stated, row.read)
    assert described(found) == described(told)
    assert [head.source for head in found.heads] == [head.source for head in told.heads]


@pytest.mark.parametrize("name", FILES)
def test_both_ends_tell_the_same_of_real_files(assets, name):
    path = assets / "models" / name
    graph = prepare(onnx.load(path)).graph
    session = open_session(path, ["cpu"], 1)
    told = tell_heads(read_graph_end(graph, image_of(session)))
    found = tell_heads(runtime_end(path))
    assert described(found)[0] == described(told)[0]
    # Exporters raise the opset first: a Softmax of old may get a Reshape, so the reasons may differ.
    assert {each.value.name for each in found.unused} == {each.value.name for each in told.unused}


def test_twins_are_those_of_the_table_of_operators():
    for row in ROWS:
        expected = row.twin or ("MatMul" if row.domain and row.weight is not None else row.name)
        assert standard_operator(row.domain, row.name) == expected, row.name
    assert standard_operator("my.domain", "Softmax") == "my.domain.Softmax"
    assert standard_operator("ai.onnx", "Softmax") == "Softmax"


FUNCTION = """
<ir_version: 10, opset_import: ["" : 18, "own" : 1]>
g (float[N, 3, 8, 8] image) => (float[N, 6] p) {
    y = ReduceMean<keepdims = 0>(image, axes)
    z = MatMul(y, weights)
    p = own.end<axis = 1>(z)
}
<domain: "own", opset_import: ["" : 18, "own" : 1]>
end <axis: int = 0>(x) => (r) { inner = own.same(x) r = Softmax<axis: int = @axis>(inner) }
<domain: "own", opset_import: ["" : 18]>
same (x) => (r) { r = Identity(x) }
"""


def test_local_functions_are_written_out(tmp_path):
    model = onnx.parser.parse_model(FUNCTION)
    weights = np.ones((3, 6), np.float32)
    model.graph.initializer.extend(
        [onnx.numpy_helper.from_array(weights, "weights"), onnx.numpy_helper.from_array(np.array([2, 3]), "axes")]
    )
    onnx.save(model, tmp_path / "model.onnx")
    (head,) = tell_heads(runtime_end(tmp_path / "model.onnx")).heads
    assert (head.kind, head.size, head.evidence.source) == ("classes", 6, "Softmax")
    nodes = read_file_graph(memoryview(model.SerializeToString())).nodes
    assert [node.operator for node in nodes] == ["ReduceMean", "MatMul", "Identity", "Softmax"]
    assert nodes[-1].attributes == {"axis": 1}
    assert nodes[-1].inputs == nodes[-2].outputs
    assert nodes[-1].outputs == ("p",)


def test_the_activation_of_a_fused_product_is_a_node_of_its_own():
    model = end_model(
        'p = com.microsoft.FusedGemm<activation = "Sigmoid">(means, weights, bias)', "float[N, 6] p", opset=18
    )
    first, second = read_file_graph(memoryview(model.SerializeToString())).nodes[-2:]
    assert (first.operator, second.operator) == ("Gemm", "Sigmoid")
    assert (first.outputs, second.outputs) == (second.inputs, ("p",))


CONSTANTS = {
    "floats": np.float32([1.5, -2]),
    "halves": np.float16([0.5]),
    "doubles": np.float64([[1e-300]]),
    "longs": np.int64([-1, 2**40]),
    "ints": np.int32([-7]),
    "bytes": np.int8([-128, 5]),
    "truths": np.array([True, False]),
    "scalar": np.float32(3),
}


@pytest.mark.parametrize("raw", [True, False], ids=["as bytes", "listed"])
def test_small_constants_are_read(raw):
    tensors = []
    for name, array in CONSTANTS.items():
        tensor = onnx.numpy_helper.from_array(np.asarray(array), name)
        if not raw:
            flat = np.asarray(array).ravel()
            tensor = helper.make_tensor(name, tensor.data_type, np.shape(array), flat.tolist())
        tensors.append(tensor)
    tensors.append(onnx.numpy_helper.from_array(np.zeros(65, np.float32), "large"))
    node = helper.make_node("Constant", [], ["made"], value=onnx.numpy_helper.from_array(np.float32([9]), ""))
    listed = helper.make_node("Constant", [], ["listed"], value_ints=[1, -1])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", 0])
    inner = helper.make_tensor_value_info("made", TensorProto.FLOAT, ["N", 3, None])
    graph = helper.make_graph([node, listed], "g", [image], [image], tensors, value_info=[inner])
    found = read_file_graph(memoryview(helper.make_model(graph).SerializeToString()))
    for name, array in CONSTANTS.items():
        assert found.constants[name].dtype == np.asarray(array).dtype, name
        np.testing.assert_array_equal(found.constants[name], array)
    assert "large" not in found.constants
    assert found.stored == {*CONSTANTS, "large", "made", "listed"}
    assert found.constants["made"].tolist() == [9]
    assert found.constants["listed"].tolist() == [1, -1]
    assert found.values["made"].dims == ("N", 3, None)
