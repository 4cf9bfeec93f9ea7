"""The checks' own table of operators against the specifications, against the rules' tables, and against torch."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx.defs
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.exporters.checks.operator_facts import FACTS, RANGES, rounds
from onnxplain.exporters.checks.witness import Witness, WitnessHead, add_path
from onnxplain.exporters.checks.witness_builder import FEATURES, WitnessBuilder
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.gradient.rules import RULES, quantization
from onnxplain.exporters.gradient.rules.quantization import QUANTIZED_RANGES
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.operators.operator import Operator
from onnxplain.exporters.operators.table import ROWS as OPERATORS
from tests.exporters.definitions import MICROSOFT
from tests.exporters.graphs import relative_error, session
from tests.exporters.straight_through import gradient_of, integer_model
from tests.exporters.test_quantized_functions import IMAGE, ONE, ROWS, Row
from tests.exporters.test_rules import OF_INTEGERS

make = onnx.helper.make_node
FORMS = {operator: facts.form for operator, facts in FACTS.items() if facts.form is not None}
WITH_INTEGERS = [row for row in OPERATORS if row.integers is not None and row.twin is not None]
WRITTEN_OUT = [row for row in WITH_INTEGERS if row.domain == MICROSOFT]
RULES_OF_QUANTIZATION = {name for name, rule in RULES.items() if rule.__module__ == quantization.__name__}


def names_in_specification(operator: str) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs, in small letters: onnx's own, or those of ONNX Runtime."""
    if onnx.defs.has(operator):
        schema = onnx.defs.get_schema(operator)
    else:
        (schema,) = [s for s in get_all_operator_schema() if (s.name, s.domain) == (operator, MICROSOFT)]
    return [value.name.lower() for value in schema.inputs], [value.name.lower() for value in schema.outputs]


def test_the_rows_with_a_form_are_the_operators_with_a_straight_through_rule() -> None:
    assert len(RULES_OF_QUANTIZATION) == 7
    assert set(FORMS) == RULES_OF_QUANTIZATION | {row.name for row in WRITTEN_OUT} | OF_INTEGERS


@pytest.mark.parametrize("operator", FACTS)
def test_every_row_is_an_operator_of_onnx_or_of_onnxruntime(operator: str) -> None:
    assert onnx.defs.has(operator) or operator in {schema.name for schema in get_all_operator_schema()}


@pytest.mark.parametrize("operator", FORMS)
def test_the_positions_are_those_of_the_specification(operator: str) -> None:
    form, (inputs, outputs) = FORMS[operator], names_in_specification(operator)
    assert form.twin in {schema.name for schema in get_all_operator_schema() if schema.domain == form.domain}
    if form.result_scale is not None:
        assert inputs[form.result_scale] == f"{outputs[0]}_scale"
    if form.computed_scale is not None:
        assert outputs[form.computed_scale] == f"{outputs[0]}_scale"
    if form.repeats:
        # "Sequence of (Tensor, Scale, ZeroPoint) tuples", the last of the named inputs.
        (operand,) = form.operands
        assert (operand.scale, operand.zero) == (operand.integers + 1, operand.integers + 2)
        assert len(inputs) - 1 == operand.integers
        return
    for operand in form.operands:
        name = inputs[operand.integers]
        assert operand.scale is None or inputs[operand.scale] == f"{name}_scale"
        assert operand.zero is None or inputs[operand.zero] == f"{name}_zero_point"
    stated = {position for operand in form.operands for position in (operand.scale, operand.zero)}
    stated |= {form.result_scale, None}
    # No scale or zero point is forgotten, but for the result's zero point, which cancels in a change.
    left = [
        name for position, name in enumerate(inputs) if position not in stated and name.endswith(("scale", "point"))
    ]
    assert set(left) <= {f"{outputs[0]}_zero_point"}


@pytest.mark.parametrize("row", WITH_INTEGERS, ids=lambda row: row.name)
@pytest.mark.parametrize("inputs", [5, 8, 11])
def test_the_positions_are_those_of_the_operators_table(row: Operator, inputs: int) -> None:
    assert row.integers is not None
    form = FORMS[row.name]
    node = ir.Node(row.domain, row.name, [ir.Value(name=f"x{index}") for index in range(inputs)])
    operands = form.operands_of(node)
    assert (form.twin, form.result_scale) == (row.twin, row.integers.result)
    assert [operand.integers for operand in operands] == list(row.integers.operands_of(node))
    # ConvInteger and MatMulInteger have no scales; the others' stand behind each operand.
    if row.integers.result is not None:
        assert all((each.scale, each.zero) == (each.integers + 1, each.integers + 2) for each in operands)


def test_the_ranges_are_those_of_the_rules_and_of_the_types() -> None:
    schema = onnx.defs.get_schema("QuantizeLinear")
    (results,) = [entry for entry in schema.type_constraints if entry.type_param_str == schema.outputs[0].type_str]
    names = [text.removeprefix("tensor(").removesuffix(")").upper() for text in results.allowed_type_strs]
    integers = [ir.DataType[name] for name in names if "INT" in name]
    assert {
        dtype: (ml_dtypes.iinfo(dtype.numpy()).min, ml_dtypes.iinfo(dtype.numpy()).max) for dtype in integers
    } == RANGES
    assert RANGES == QUANTIZED_RANGES


@pytest.mark.parametrize("operator", FACTS)
def test_what_saturates_is_a_gate_and_in_integers(operator: str) -> None:
    facts = FACTS[operator]
    if facts.form is None:
        assert (facts.gates or facts.chooses) != facts.in_integers
    else:
        twin = FACTS.get(facts.form.twin)
        assert facts.gates == (facts.form.result_scale is not None or (twin is not None and twin.gates))
        assert facts.in_integers == (operator != "DequantizeLinear")


@pytest.mark.parametrize(
    ("operator", "found"),
    [("QuantizeLinear", True), ("QLinearReduceMean", True), ("DequantizeLinear", False), ("Relu", False)],
)
def test_a_graph_with_an_integer_operator_rounds(operator: str, found: bool) -> None:
    assert rounds(integer_model([make(operator, ["x"], ["y"])], {}, {})) is found


@pytest.mark.parametrize(("dtype", "found"), [(np.float16, True), (np.float32, False), (np.int8, False)])
def test_a_graph_with_float16_weights_rounds(dtype: type[np.generic], found: bool) -> None:
    assert rounds(integer_model([make("Relu", ["x"], ["y"])], {}, {"w": np.zeros(3, dtype)})) is found


def witness_of(proto: onnx.ModelProto, source: str) -> Witness:
    """What lies between a float input and y."""
    graph = prepare(proto).graph
    (value,) = [value for value in graph.inputs if value.name == source]
    builder = WitnessBuilder(np.float64, opset=18)
    builder.emit("Identity", [FEATURES], source)
    add_path(builder, path_between(value, [graph.outputs[0]]))
    return Witness(
        builder.model(["y"]),
        np.float64,
        tuple(builder.captured),
        (WitnessHead("y", "values"),),
        (),
        tuple(builder.held),
    )


def captured_values(
    proto: onnx.ModelProto, names: tuple[str, ...], feeds: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    whole = onnx.ModelProto()
    whole.CopyFrom(ir.to_proto(prepare(proto)))
    inner = [name for name in names if name not in feeds]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    run = session(whole).run(inner, feeds) if inner else []
    return dict(feeds) | dict(zip(inner, run, strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(filter(None, (row.operator, row.note))))
def test_a_witness_has_the_derivative_of_the_straight_through_formula(row: Row, dtype: type[np.integer]) -> None:
    proto, feeds = row.model(dtype), row.floats
    tensors = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in feeds.values()]
    y = row.torch(tensors, dtype)
    rng = np.random.default_rng(3)
    cotangent = rng.normal(size=y.shape)
    for (name, array), tensor in zip(feeds.items(), tensors, strict=True):
        witness = witness_of(proto, name)
        captured = captured_values(proto, witness.captured, feeds)
        gradient = gradient_of(y, tensor, cotangent)
        assert np.count_nonzero(gradient)
        flat, step = cotangent.reshape(len(array), -1), 1e-6
        found, expected = [], []
        for direction in rng.normal(size=(3, *array.shape)):
            sides = [witness.values(array + sign * step * direction, captured)[0] for sign in (1, -1)]
            found.append(((sides[0] - sides[1]) * flat).sum() / (2 * step))
            expected.append((gradient * direction).sum())
        # A witness moves integers off their ties by some thousandths of a step; torch's formula does not.
        assert relative_error(np.array(found), np.array(expected)) < 1e-4


@pytest.mark.parametrize(
    ("operator", "attributes", "says"),
    [
        ("QLinearSoftmax", {"opset": 11}, "before opset 13"),
    ],
)
def test_a_form_that_the_float_operator_lacks_is_refused(operator: str, attributes: dict[str, int], says: str) -> None:
    with pytest.raises(UnsupportedError, match=f"no gradient for {operator} .*{says}"):
        witness_of(Row(operator, (IMAGE,), ONE, torch.sigmoid, 0.01, attributes).model(np.uint8), "a")


def test_a_result_of_another_type_is_refused() -> None:
    nodes = [make("QuantizeLinear", ["a", "s", "z"], ["q"]), make("DequantizeLinear", ["q", "s", "z"], ["y"])]
    proto = integer_model(nodes, {"a": np.ones((2, 3), np.float32)}, {"s": np.float32(0.5)})
    proto.graph.initializer.append(onnx.helper.make_tensor("z", onnx.TensorProto.FLOAT8E4M3FN, [], [0.0]))
    proto.opset_import[0].version = 21
    with pytest.raises(
        UnsupportedError, match=r"QuantizeLinear .* its result has type FLOAT8E4M3FN, expected UINT2 or INT2"
    ):
        witness_of(proto, "a")


def test_a_scale_of_the_run_is_refused() -> None:
    nodes = [
        make("Abs", ["b"], ["s"]),
        make("QuantizeLinear", ["a", "s"], ["q"], name="the_node"),
        make("Neg", ["q"], ["y"]),
    ]
    proto = integer_model(nodes, {"a": np.ones((2, 3), np.float32), "b": np.ones((1,), np.float32)}, {})
    with pytest.raises(OnnxplainError, match="a scale of the_node is computed at run time: choose a later layer"):
        witness_of(proto, "a")
