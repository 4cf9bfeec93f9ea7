"""When an input has a quantization: exporters and runtime read the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain.contract import DeclaredInput, Quantization, find_quantization
from onnxplain.contract.quantization import QUANTIZED_OPERANDS
from onnxplain.errors import ModelError
from onnxplain.exporters.file.close_input import declare_inputs
from onnxplain.exporters.operators.table import ROWS
from onnxplain.runtime.image_input import with_quantization
from tests.quantized_inputs.quantized_model import QuantizedModel


@dataclass(frozen=True)
class Node:
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("out",)


DEQUANTIZE = Node("DequantizeLinear", ("image", "s", "z"))
SCALARS = {"s": 0.5, "z": 3.0, "t": 0.25}
FOUND = Quantization(0.5, 3, "int8")
GRAPHS: dict[str, tuple[list[Node], Quantization | None]] = {
    "dequantized": ([DEQUANTIZE], FOUND),
    "without a zero point": ([Node("DequantizeLinear", ("image", "s"))], Quantization(0.5, 0, "int8")),
    "zero point left out": ([Node("DequantizeLinear", ("image", "s", ""))], Quantization(0.5, 0, "int8")),
    "moved first": (
        [
            Node("Transpose", ("image",), ("m",)),
            Node("Reshape", ("m", "shape"), ("r",)),
            Node("QGemm", ("r", "s", "z")),
        ],
        FOUND,
    ),
    "second operand": ([Node("QLinearAdd", ("other", "t", "z", "image", "s", "z"))], FOUND),
    "third of a Concat": ([Node("QLinearConcat", ("t", "z", "a", "t", "z", "b", "t", "z", "image", "s", "z"))], FOUND),
    "where": ([Node("QLinearWhere", ("condition", "image", "s", "z", "b", "t", "z"))], FOUND),
    "two that agree": ([DEQUANTIZE, Node("QLinearConv", ("image", "s", "z", "w"))], FOUND),
    "its shape read too": ([Node("Shape", ("image",), ("shape",)), DEQUANTIZE], FOUND),
    "two that differ": ([DEQUANTIZE, Node("DequantizeLinear", ("image", "t", "z"))], None),
    "also read as it is": ([DEQUANTIZE, Node("Cast", ("image",))], None),
    "cast": ([Node("Cast", ("image",))], None),
    "a scale per channel": ([Node("DequantizeLinear", ("image", "vector", "z"))], None),
    "a computed scale": ([Node("DynamicQuantizeLinear", ("x",), ("y", "c")), Node("QGemm", ("image", "c", "z"))], None),
    "weights of a product": ([Node("QLinearConv", ("x", "s", "z", "image", "s", "z"))], None),
    "the shape of a Reshape": ([Node("Reshape", ("x", "image"), ("m",)), Node("QGemm", ("m", "s", "z"))], None),
    "nothing": ([], None),
}


@pytest.mark.parametrize(("nodes", "expected"), GRAPHS.values(), ids=GRAPHS)
def test_what_the_graph_says(nodes: list[Node], expected: Quantization | None) -> None:
    assert find_quantization("image", "int8", nodes, SCALARS) == expected


def test_inputs_of_other_types_have_none() -> None:
    assert find_quantization("image", "float32", [DEQUANTIZE], SCALARS) is None
    assert find_quantization("image", "uint8", [DEQUANTIZE], SCALARS) == Quantization(0.5, 3, "uint8")


@pytest.mark.parametrize(("scale", "zero_point"), [(0.0, 0), (-1.0, 0), (float("nan"), 0), (1.0, 200)])
def test_what_is_no_quantization_is_refused(scale: float, zero_point: int) -> None:
    with pytest.raises(ModelError, match="expected a positive scale and a zero point of int8"):
        Quantization(scale, zero_point, "int8")


@pytest.mark.parametrize("stored", ["raw", "listed", "nodes"])
@pytest.mark.parametrize("reader", ["DequantizeLinear", "QLinearConv"])
@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", -128), ("int8", 3), ("uint8", 0), ("uint8", 130)])
def test_exporters_and_runtime_read_the_same(
    stored: str, reader: str, dtype: str, zero_point: int, tmp_path: Path
) -> None:
    model = QuantizedModel(dtype, zero_point, 0.0209, "nhwc", reader, stored)
    path = model.write(tmp_path / "m.onnx")
    (declared,) = declare_inputs(onnx.load(path))
    assert declared.quantization == Quantization(
        float(np.float32(0.0209)), zero_point, "int8" if dtype == "int8" else "uint8"
    )
    assert with_quantization(path, replace(declared, quantization=None)) == declared


@pytest.mark.parametrize(("elem", "dtype"), [(TensorProto.FLOAT16, np.float16), (TensorProto.DOUBLE, np.float64)])
@pytest.mark.parametrize("raw", [True, False])
def test_scales_of_other_types(elem: int, dtype: type, raw: bool, tmp_path: Path) -> None:
    """The reader of the runtime takes each way in which onnx stores a number."""
    scale = np.array(0.0209, dtype)
    tensor = numpy_helper.from_array(scale, "s") if raw else helper.make_tensor("s", elem, [], [float(scale)])
    node = helper.make_node("DequantizeLinear", ["image", "s"], ["out"])
    image = helper.make_tensor_value_info("image", TensorProto.INT8, [1, 3, 4, 4])
    out = helper.make_tensor_value_info("out", elem, [1, 3, 4, 4])
    model = helper.make_model(helper.make_graph([node], "g", [image], [out], [tensor]))
    onnx.save(model, tmp_path / "m.onnx")
    (declared,) = declare_inputs(model)
    assert declared.quantization == Quantization(float(scale), 0, "int8")
    found = with_quantization(tmp_path / "m.onnx", DeclaredInput.of("image", "int8", [1, 3, 4, 4]))
    assert found.quantization == declared.quantization


def test_the_operands_are_those_of_the_operators_table() -> None:
    """Both tables come from the specification; only QLinearReduceMean has no row, since it has no kernel to check."""
    rows = {row.name: row for row in ROWS if row.integers is not None}
    assert {name for name in QUANTIZED_OPERANDS if name not in rows} == {"QLinearReduceMean"}
    for name, positions in QUANTIZED_OPERANDS.items():
        integers = rows[name].integers if name in rows else None
        if integers is not None:
            node = ir.Node("", name, [ir.Value(name=f"x{index}") for index in range(11)])
            stated = set(integers.operands_of(node))
            # Weights of a convolution are no image.
            assert {position for position in positions if position < 11} in (stated, stated - {3})
