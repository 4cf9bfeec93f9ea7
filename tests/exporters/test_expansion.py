"""Bodies inside bodies, local functions, and what has no body: steps, control flow, unknown operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.gradient.differentiate import is_differentiable
from onnxplain.exporters.gradient.rules import RULES, steps
from onnxplain.exporters.operators.table import ROWS
from tests.exporters.definitions import MICROSOFT
from tests.exporters.graphs import relative_error, run_gradient

make = onnx.helper.make_node
info = onnx.helper.make_tensor_value_info
FLOAT = onnx.TensorProto.FLOAT
X = np.random.default_rng(14).normal(size=(2, 3, 4)).astype(np.float32)
LOCAL = "com.example"
STEPS = {name for name, rule in RULES.items() if rule is steps.step}


def model_of(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, np.ndarray] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
    opset: int = 21,
) -> onnx.ModelProto:
    """x [N, 3, 4] → … → y."""
    graph = onnx.helper.make_graph(
        list(nodes),
        "graph",
        [info("x", FLOAT, ["N", 3, 4])],
        [onnx.ValueInfoProto(name="y")],
        [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [
        onnx.helper.make_opsetid(*entry) for entry in (("", opset), (LOCAL, 1), (MICROSOFT, 1), ("ai.onnx.ml", 3))
    ]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))


def local_function(name: str, nodes: Sequence[onnx.NodeProto], attributes: Sequence[str] = ()) -> onnx.FunctionProto:
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid(LOCAL, 1)]
    return onnx.helper.make_function(LOCAL, name, ["a"], ["b"], list(nodes), opsets, list(attributes))


def with_reference(node: onnx.NodeProto, attribute: str, outer: str, kind: int) -> onnx.NodeProto:
    """The node, one attribute of which is the function's own."""
    node.attribute.add(name=attribute, ref_attr_name=outer, type=kind)
    return node


def autograd(function: object) -> np.ndarray:
    x = torch.tensor(X, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(x), x, torch.ones(X.shape))
    return gradient.numpy()


SQUASH = local_function(
    "Squash",
    [
        with_reference(make("LeakyRelu", ["a"], ["leaky"]), "alpha", "slope", onnx.AttributeProto.FLOAT),
        make("Mish", ["leaky"], ["b"]),
    ],
    ["slope"],
)
TWICE = local_function(
    "Twice",
    [
        make("Squash", ["a"], ["once"], domain=LOCAL, slope=0.25),
        make("Squash", ["once"], ["b"], domain=LOCAL, slope=0.5),
    ],
)


def _squash(x: torch.Tensor, slope: float) -> torch.Tensor:
    return torch.nn.functional.mish(torch.nn.functional.leaky_relu(x, slope))


@pytest.mark.parametrize(
    ("node", "function"),
    [
        (make("Squash", ["x"], ["y"], domain=LOCAL, slope=0.25), lambda x: _squash(x, 0.25)),
        (make("Twice", ["x"], ["y"], domain=LOCAL), lambda x: _squash(_squash(x, 0.25), 0.5)),
    ],
    ids=["one level", "two levels"],
)
def test_local_functions_are_inlined(node: onnx.NodeProto, function: object) -> None:
    model = prepare(model_of([node], functions=[SQUASH, TWICE]))
    found = run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X})
    assert relative_error(found, autograd(function)) < 1e-5


def test_a_body_made_of_bodies() -> None:
    nodes = [
        make("Gelu", ["x"], ["a"], approximate="tanh"),
        make("MeanVarianceNormalization", ["a"], ["b"], axes=[1, 2]),
        make("CastLike", ["b", "like"], ["c"]),
        make("Celu", ["c"], ["y"], alpha=0.5),
    ]

    def function(x: torch.Tensor) -> torch.Tensor:
        a = torch.nn.functional.gelu(x, approximate="tanh")
        centred = a - a.mean((1, 2), keepdim=True)
        return torch.nn.functional.celu(centred / (centred.square().mean((1, 2), keepdim=True).sqrt() + 1e-9), 0.5)

    model = prepare(model_of(nodes, {"like": np.zeros((), np.float32)}))
    found = run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X})
    assert relative_error(found, autograd(function)) < 1e-5


def test_one_operator_twice_on_one_path() -> None:
    model = prepare(model_of([make("Mish", ["x"], ["a"]), make("Mish", ["a"], ["b"]), make("Add", ["a", "b"], ["y"])]))
    mish = torch.nn.functional.mish
    found = run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X})
    assert relative_error(found, autograd(lambda x: mish(x) + mish(mish(x)))) < 1e-5


# Of each step the node(s) that make a float from x through it; "made" is cast to y. None: onnx wants other inputs.
INT, FLOATS, BOOL = onnx.TensorProto.INT32, FLOAT, onnx.TensorProto.BOOL
NOT_OF_FLOATS = {
    **dict.fromkeys(("And", "Or", "Xor", "Not"), BOOL),
    **dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"), onnx.TensorProto.UINT32),
}
MORE_INPUTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), ("operand", "zero")),
    **dict.fromkeys(("And", "Or", "Xor", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"), ("operand", "operand")),
    "OneHot": ("operand", "depth", "off_on"),
    "Range": ("start", "limit", "one"),
    "ConstantOfShape": ("shape",),
    "EyeLike": ("rows",),
}


def _through(step: str) -> list[onnx.NodeProto]:
    to = NOT_OF_FLOATS.get(step, FLOATS)
    attributes = {"direction": "LEFT"} if step == "BitShift" else {}
    return [
        make("Cast", ["x"], ["operand"], to=to),
        make("Shape", ["operand"], ["shape"]),
        make("Reshape", ["operand", "flat"], ["rows"]),
        make("ReduceMin", ["operand"], ["start"], keepdims=0)
        if to == FLOATS
        else make("Identity", ["zero"], ["start"]),
        make("Add", ["start", "five"], ["limit"]),
        make(step, MORE_INPUTS.get(step, ("operand",)), ["made"], name="the_step", **attributes),
        make("Cast", ["made"], ["y"], to=FLOAT),
    ]


CONSTANTS = {
    "zero": np.array(0.0, np.float32),
    "one": np.array(1.0, np.float32),
    "five": np.array(5.0, np.float32),
    "depth": np.array(5),
    "off_on": np.array([0.0, 1.0], np.float32),
    "flat": np.array([-1, 4]),
}


@pytest.mark.parametrize("step", sorted(STEPS))
def test_a_path_of_steps_only_is_identically_zero(step: str) -> None:
    model = prepare(model_of(_through(step), CONSTANTS))
    with pytest.raises(UnsupportedError, match="layer 'x' is identically zero: every path passes") as caught:
        run_gradient(model, "x", {"y": np.ones((1,))}, {"x": X})
    says = str(caught.value)
    if step not in NOT_OF_FLOATS and step != "ConstantOfShape":
        assert f"{step} 'the_step'" in says
    assert "choose a later layer" in says
    assert len(says.splitlines()) == 1


@pytest.mark.parametrize("step", ["Floor", "Ceil", "Round", "Sign"])
def test_a_step_beside_the_way_adds_nothing(step: str) -> None:
    model = prepare(model_of([make(step, ["x"], ["a"]), make("Mul", ["x", "a"], ["y"])]))
    stepped = {"Floor": np.floor, "Ceil": np.ceil, "Round": np.round, "Sign": np.sign}[step](X)
    np.testing.assert_array_equal(run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X}), stepped)


def test_another_domains_operator_with_the_name_of_a_step_is_no_step() -> None:
    model = prepare(model_of([make("Floor", ["x"], ["y"], name="other", domain=LOCAL)]))
    value = next(node for node in model.graph).outputs[0]
    value.shape, value.type = model.graph.inputs[0].shape, model.graph.inputs[0].type
    with pytest.raises(UnsupportedError, match=rf"no gradient rule for operator {LOCAL}\.Floor .*'other'"):
        run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X})


def _branch(name: str, operator: str) -> onnx.GraphProto:
    return onnx.helper.make_graph([make(operator, ["x"], [name])], name, [], [info(name, FLOAT, None)])


def _if() -> list[onnx.NodeProto]:
    then, other = _branch("then", "Relu"), _branch("else", "Neg")
    return [make("If", ["yes"], ["a"], name="the_flow", then_branch=then, else_branch=other)]


def _loop() -> list[onnx.NodeProto]:
    inputs = [info("i", onnx.TensorProto.INT64, []), info("go", BOOL, []), info("carried", FLOAT, ["N", 3, 4])]
    outputs = [info("go_on", BOOL, []), info("next", FLOAT, ["N", 3, 4])]
    body = onnx.helper.make_graph(
        [make("Identity", ["go"], ["go_on"]), make("Relu", ["carried"], ["next"])], "body", inputs, outputs
    )
    return [make("Loop", ["trips", "", "x"], ["a"], name="the_flow", body=body)]


def _scan() -> list[onnx.NodeProto]:
    body = onnx.helper.make_graph(
        [make("Relu", ["row"], ["made"])], "body", [info("row", FLOAT, [3, 4])], [info("made", FLOAT, [3, 4])]
    )
    return [make("Scan", ["x"], ["a"], name="the_flow", body=body, num_scan_inputs=1)]


@pytest.mark.parametrize("residual", [False, True], ids=["alone", "beside a way around it"])
@pytest.mark.parametrize(
    ("operator", "nodes"), [("If", _if()), ("Loop", _loop()), ("Scan", _scan())], ids=["If", "Loop", "Scan"]
)
def test_control_flow_is_refused_by_name(operator: str, nodes: list[onnx.NodeProto], residual: bool) -> None:
    """Also where only a subgraph reads the layer, and where a way around it would leave part of the gradient."""
    last = make("Add", ["a", "x"], ["y"]) if residual else make("Neg", ["a"], ["y"])
    of_the_run = [
        make("ReduceSum", ["x"], ["sum"], keepdims=0),
        make("Cast", ["sum"], ["yes"], to=BOOL),
        make("Cast", ["sum"], ["trips"], to=onnx.TensorProto.INT64),
    ]
    proto = model_of([*of_the_run, *nodes, last])
    proto.graph.value_info.append(info("a", FLOAT, ["N", 3, 4]))
    model = prepare(proto)
    with pytest.raises(UnsupportedError, match=f"no gradient for {operator} .*the_flow.*control flow on the path"):
        run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X})


def test_control_flow_beside_the_path_is_passed_by() -> None:
    branch = {
        name: onnx.helper.make_graph([make("Identity", ["two"], [name])], name, [], [info(name, FLOAT, [])])
        for name in ("then", "else")
    }
    nodes = [
        make("If", ["yes"], ["a"], then_branch=branch["then"], else_branch=branch["else"]),
        make("Mul", ["x", "a"], ["y"]),
    ]
    model = prepare(model_of(nodes, {"yes": np.array(True), "two": np.array(2.0, np.float32)}))
    found = run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X})
    np.testing.assert_array_equal(found, np.full_like(X, 2.0))


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (make("Det", ["square"], ["y"], name="the_node"), "operator Det at node Det 'the_node'"),
        (
            make("Normalizer", ["x"], ["y"], name="the_node", domain="ai.onnx.ml"),
            r"operator ai\.onnx\.ml\.Normalizer .*'the_node'",
        ),
        (make("Inverse", ["x"], ["y"], domain=MICROSOFT), r"operator com\.microsoft\.Inverse .*'y'"),
    ],
    ids=["onnx", "ai.onnx.ml", "com.microsoft"],
)
def test_an_unknown_operator_is_refused_by_name_and_node(node: onnx.NodeProto, says: str) -> None:
    model = prepare(
        model_of(
            [make("Slice", ["x", "zeros", "ends"], ["square"]), node],
            {"zeros": np.zeros(3, int), "ends": np.full(3, 3)},
        )
    )
    with pytest.raises(UnsupportedError, match=f"no gradient rule for {says}: choose a later layer, or .*rise"):
        run_gradient(model, "x", {"y": np.ones((2,))}, {"x": X})


def test_a_grid_of_a_size_of_the_run_is_refused() -> None:
    nodes = [
        make("Reshape", ["x", "flat"], ["theta"]),
        make("ReduceSum", ["x"], ["sum"], keepdims=0),
        make("Cast", ["sum"], ["length"], to=onnx.TensorProto.INT64),
        make("Add", ["size", "length"], ["sizes"]),
        make("AffineGrid", ["theta", "sizes"], ["y"], name="the_node"),
    ]
    model = prepare(model_of(nodes, {"flat": np.array([-1, 2, 3]), "size": np.array([4, 3, 5, 5])}))
    with pytest.raises(UnsupportedError, match="no gradient for AffineGrid 'the_node': its size is computed at run"):
        run_gradient(model, "x", {"y": np.ones((4, 5, 5, 2))}, {"x": X})


def test_a_form_of_a_fused_operator_that_is_not_covered_is_refused() -> None:
    node = make("FusedConv", ["x", "w"], ["y"], name="the_node", domain=MICROSOFT, activation="Softmax")
    model = prepare(model_of([node], {"w": np.ones((2, 3, 1), np.float32)}))
    with pytest.raises(UnsupportedError, match=r"no gradient for FusedConv 'the_node': .*Softmax"):
        run_gradient(model, "x", {"y": np.ones((2,))}, {"x": X})


def test_an_output_that_a_fused_operator_does_not_make_is_refused() -> None:
    nodes = [
        make("SkipLayerNormalization", ["x", "x", "gamma"], ["a", "mean"], name="the_node", domain=MICROSOFT),
        make("Add", ["a", "mean"], ["y"]),
    ]
    model = prepare(model_of(nodes, {"gamma": np.ones(4, np.float32)}))
    for value in (output for node in model.graph for output in node.outputs):
        if value.shape is None:
            value.shape, value.type = model.graph.inputs[0].shape, model.graph.inputs[0].type
    with pytest.raises(UnsupportedError, match="SkipLayerNormalization 'the_node': its output 1 is used"):
        run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X})


def test_looking_into_an_operator_leaves_the_graph_as_it_was() -> None:
    nodes = [
        make("Mish", ["x"], ["a"]),
        make("FusedMatMul", ["a", "w"], ["b"], domain=MICROSOFT),
        make("FusedConv", ["b", "k"], ["c"], domain=MICROSOFT, activation="Softmax"),
        make("Det", ["b"], ["y"]),
    ]
    graph = prepare(model_of(nodes, {"w": np.ones((4, 3), np.float32), "k": np.ones((2, 3, 1), np.float32)})).graph
    mish, fused, uncovered, unknown = graph
    assert is_differentiable([mish, fused])
    assert not is_differentiable([mish, uncovered])
    assert not is_differentiable([mish, fused, unknown])
    values = [*graph.inputs, *graph.initializers.values(), *(output for node in graph for output in node.outputs)]
    assert all(reader.graph is graph for value in values for reader in value.consumers())


# Operators that ONNX Runtime's optimiser writes under the standard domain, and that onnx does not have.
ONNXRUNTIMES_OWN = {"SimplifiedLayerNormalization"}


def test_every_row_is_an_operator_of_its_domain() -> None:
    standard = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert {row.name for row in ROWS if row.domain == ""} | set(RULES) <= standard | ONNXRUNTIMES_OWN
    microsoft = {schema.name for schema in get_all_operator_schema() if schema.domain == MICROSOFT}
    assert {row.name for row in ROWS if row.domain == MICROSOFT} <= microsoft
    assert not ONNXRUNTIMES_OWN & standard
