"""The walk: reachability, adding up, broadcasting, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest
import torch

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.file.model_file import prepare
from onnxplain.exporters.gradient import differentiate
from onnxplain.exporters.gradient.rules import RULES
from onnxplain.exporters.graph.path import path_between
from tests.exporters.graphs import relative_error, run_gradient

node = onnx.helper.make_node
RNG = np.random.default_rng(9)
X = RNG.normal(size=(2, 3)).astype(np.float32)
W = RNG.normal(size=(3, 3)).astype(np.float32)
ROW = RNG.normal(size=(1, 3)).astype(np.float32)


def graph_of(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str], **constants: np.ndarray) -> ir.Model:
    graph = onnx.helper.make_graph(
        list(nodes),
        "graph",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3])],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("com.example", 1)]
    return prepare(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10))


def value_named(model: ir.Model, name: str) -> ir.Value:
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    return next(value for value in values if value.name == name)


Function = Callable[[torch.Tensor], Sequence[torch.Tensor]]
WALKS: Mapping[str, tuple[ir.Model, Sequence[str], Function]] = {
    "used twice by one node": (
        graph_of([node("Mul", ["x", "x"], ["y"])], ["y"]),
        ["y"],
        lambda x: [x * x],
    ),
    "used by several nodes": (
        graph_of(
            [
                node("Sigmoid", ["x"], ["a"]),
                node("Relu", ["x"], ["b"]),
                node("Mul", ["a", "b"], ["c"]),
                node("Sub", ["c", "x"], ["y"]),
            ],
            ["y"],
        ),
        ["y"],
        lambda x: [torch.sigmoid(x) * torch.relu(x) - x],
    ),
    "residual": (
        graph_of([node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "x"], ["y"])], ["y"], w=W),
        ["y"],
        lambda x: [x @ torch.tensor(W) + x],
    ),
    "broadcast against a part of itself": (
        graph_of(
            [node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1), node("Div", ["x", "mean"], ["y"])],
            ["y"],
            axes=np.array([1]),
        ),
        ["y"],
        lambda x: [x / x.mean(1, keepdim=True)],
    ),
    "a constant row on the left": (
        graph_of([node("Sub", ["row", "x"], ["y"])], ["y"], row=ROW),
        ["y"],
        lambda x: [torch.tensor(ROW) - x],
    ),
    "two seeds": (
        graph_of([node("Sigmoid", ["x"], ["a"]), node("MatMul", ["x", "w"], ["b"])], ["a", "b"], w=W),
        ["a", "b"],
        lambda x: [torch.sigmoid(x), x @ torch.tensor(W)],
    ),
    "one seed behind the other": (
        graph_of([node("Sigmoid", ["x"], ["a"]), node("Mul", ["a", "x"], ["b"])], ["a", "b"]),
        ["a", "b"],
        lambda x: [torch.sigmoid(x), torch.sigmoid(x) * x],
    ),
    "one seed is the layer": (
        graph_of([node("Sigmoid", ["x"], ["a"])], ["a"]),
        ["x", "a"],
        lambda x: [x, torch.sigmoid(x)],
    ),
}


@pytest.mark.parametrize(("model", "seeds", "function"), WALKS.values(), ids=WALKS.keys())
def test_walk_agrees_with_autograd(model: ir.Model, seeds: Sequence[str], function: Function) -> None:
    x = torch.tensor(X, requires_grad=True)
    values = function(x)
    cotangents = [RNG.normal(size=value.shape) for value in values]
    scalar = sum((v * torch.tensor(c, dtype=torch.float32)).sum() for v, c in zip(values, cotangents, strict=True))
    (reference,) = torch.autograd.grad(scalar, x)
    found = run_gradient(model, "x", dict(zip(seeds, cotangents, strict=True)), {"x": X})
    assert relative_error(found, reference.numpy()) < 1e-5


def test_path_is_what_lies_between_in_the_graphs_order() -> None:
    model = graph_of(
        [
            node("Relu", ["x"], ["before"]),
            node("Sigmoid", ["before"], ["layer"]),
            node("Relu", ["layer"], ["a"]),
            node("Neg", ["layer"], ["aside"]),
            node("Add", ["a", "before"], ["b"]),
            node("Neg", ["b"], ["behind"]),
        ],
        ["b", "aside", "behind"],
    )
    path = path_between(value_named(model, "layer"), [value_named(model, "b")])
    assert [step.outputs[0].name for step in path] == ["a", "b"]


def test_a_node_that_leads_nowhere_needs_no_rule() -> None:
    model = graph_of([node("Relu", ["x"], ["y"]), node("Hardmax", ["x"], ["z"])], ["y", "z"])
    found = run_gradient(model, "x", {"y": np.ones_like(X)}, {"x": X})
    np.testing.assert_array_equal(found, X > 0)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (node("Sigmoid", ["a"], ["y"], name="gate"), "Sigmoid 'gate'"),
        (node("Sigmoid", ["a"], ["y"]), "Sigmoid"),
        (node("Relu", ["a"], ["y"], name="other", domain="com.example"), "Relu 'other'"),
    ],
    ids=["named", "unnamed", "another domain's operator of a known name"],
)
def test_an_operator_without_a_rule_is_refused_by_name(
    step: onnx.NodeProto, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {name: rule for name, rule in RULES.items() if name != "Sigmoid"}
    monkeypatch.setattr(differentiate, "RULES", rules)
    model = graph_of([node("Neg", ["x"], ["a"]), step], ["y"])
    with pytest.raises(UnsupportedError, match=f"no gradient rule for operator .*{says}.* choose a later layer.*rise"):
        run_gradient(model, "a", {"y": np.ones_like(X)}, {"x": X})


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Cast", ["x"], ["a"], to=onnx.TensorProto.INT32), node("Cast", ["a"], ["y"], to=onnx.TensorProto.FLOAT)],
        [node("Shape", ["x"], ["a"]), node("ConstantOfShape", ["a"], ["y"])],
        [node("Sigmoid", ["row"], ["y"])],
    ],
    ids=["through integers", "through its shape only", "not connected"],
)
def test_a_gradient_that_is_zero_everywhere_is_refused(nodes: Sequence[onnx.NodeProto]) -> None:
    model = graph_of(nodes, ["y"], row=ROW)
    with pytest.raises(UnsupportedError, match=r"identically zero|no gradient rule"):
        run_gradient(model, "x", {"y": np.ones_like(X)}, {"x": X})


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_shapes_behind_ceil_mode_are_those_of_the_run(operator: str) -> None:
    # Of a 5 × 5 map the third window would start beyond the map: onnx's inference counts it, ONNX Runtime does not.
    attributes = {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1}
    graph = onnx.helper.make_graph(
        [
            node(operator, ["x"], ["pooled"], **attributes),
            node("Relu", ["pooled"], ["a"]),
            node("Flatten", ["a"], ["y"]),
        ],
        "ceil_mode",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 2, 5, 5])],
        [onnx.ValueInfoProto(name="y")],
    )
    opset = onnx.helper.make_opsetid("", 18)
    model = prepare(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10))
    x = RNG.permutation(100).reshape(2, 2, 5, 5).astype(np.float32)
    cotangent = RNG.normal(size=(2, 8))
    image = torch.tensor(x, requires_grad=True)
    if operator == "MaxPool":
        y = torch.nn.functional.max_pool2d(image, 3, 3, 1, ceil_mode=True)
    else:
        y = torch.nn.functional.avg_pool2d(image, 3, 3, 1, ceil_mode=True, count_include_pad=False)
    (reference,) = torch.autograd.grad(y.relu().flatten(1), image, torch.tensor(cotangent, dtype=torch.float32))
    assert relative_error(run_gradient(model, "x", {"y": cotangent}, {"x": x}), reference.numpy()) < 1e-6
