"""If, Loop and Scan written out: the same outputs as ONNX Runtime gives of the file, gradients as torch gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest
import torch

from onnxplain.errors import UnboundedLoopError, UnsupportedError
from onnxplain.exporters.file import unrolling
from onnxplain.exporters.file.model_file import changes, prepare
from onnxplain.exporters.file.unrolling import MOST_ITERATIONS, unroll
from onnxplain.exporters.graph.values import dims
from onnxplain.exporters.operators.table import operator_of
from tests.exporters.graphs import relative_error, run_gradient, session

make = onnx.helper.make_node
info = onnx.helper.make_tensor_value_info
FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
X = np.random.default_rng(17).normal(size=(2, 3, 4)).astype(np.float32)
functional = torch.nn.functional


def graph_of(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None,
) -> onnx.GraphProto:
    """A graph whose outputs state no shape; `constants` are its own initializers."""
    stored = [onnx.numpy_helper.from_array(np.asarray(array), key) for key, array in (constants or {}).items()]
    kinds = {"go": BOOL}
    infos = [info(output, kinds.get(output.split("_")[0], FLOAT), None) for output in outputs]
    return onnx.helper.make_graph(list(nodes), name, list(inputs), infos, stored)


def flow_model(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, object], shape: Sequence[int | str] = ("N", 3, 4)
) -> onnx.ModelProto:
    """x → … → y."""
    graph = graph_of("main", nodes, [info("x", FLOAT, shape)], ["y"], {k: np.asarray(v) for k, v in constants.items()})
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


def flows(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph if operator_of(node).control_flow]


def _if(condition: str, result: str = "y", name: str = "the_if") -> onnx.NodeProto:
    then = graph_of(
        "then", [make("Mul", ["x", "two"], ["r"]), make("Tanh", ["r"], ["t"])], [], ["t"], {"two": np.float32(2)}
    )
    other = graph_of("other", [make("Mul", ["x", "two"], ["r"])], [], ["r"], {"two": np.float32(3)})
    return make("If", [condition], [result], name=name, then_branch=then, else_branch=other)


def _body(nodes: Sequence[onnx.NodeProto], states: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
    return graph_of(
        "body",
        nodes,
        [info("i", INT64, []), info("go", BOOL, []), *(info(state, FLOAT, None) for state in states)],
        outputs,
        {"one": np.int64(1), "most": np.int64(2), "half": np.float32(0.5)},
    )


COUNT_UP = [
    make("Cast", ["i"], ["number"], to=FLOAT),
    make("Mul", ["a", "half"], ["halved"]),
    make("Add", ["halved", "number"], ["added"]),
    make("Mul", ["added", "x"], ["b"]),
]


def _loop_rows(states: torch.Tensor, x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = []
    for number in range(count):
        states = (states * 0.5 + number) * x
        rows.append(states)
    return states, torch.stack(rows)


def _counted() -> tuple[list[onnx.NodeProto], dict[str, object]]:
    body = _body([*COUNT_UP, make("Identity", ["go"], ["go_on"])], ["a"], ["go_on", "b"])
    return [make("Loop", ["three", "", "x"], ["y"], name="the_loop", body=body)], {"three": np.int64(3)}


def _stopped() -> tuple[list[onnx.NodeProto], dict[str, object]]:
    """A while loop whose condition counts."""
    body = _body([*COUNT_UP, make("Less", ["i", "most"], ["go_on"])], ["a"], ["go_on", "b"])
    return [make("Loop", ["", "yes", "x"], ["y"], name="the_loop", body=body)], {"yes": np.array(True)}


def _collected() -> tuple[list[onnx.NodeProto], dict[str, object]]:
    body = _body(
        [*COUNT_UP, make("Identity", ["go"], ["go_on"]), make("Identity", ["b"], ["row"])], ["a"], ["go_on", "b", "row"]
    )
    nodes = [
        make("Loop", ["three", "yes", "x"], ["last", "rows"], name="the_loop", body=body),
        make("ReduceSum", ["rows", "first"], ["sum"], keepdims=0),
        make("Mul", ["sum", "last"], ["y"]),
    ]
    return nodes, {"three": np.int64(3), "yes": np.array(True), "first": np.array([0])}


def _nested() -> tuple[list[onnx.NodeProto], dict[str, object]]:
    """An If by the number of the iteration in a loop in a loop."""
    then = graph_of("then", [make("Tanh", ["c"], ["t"])], [], ["t"])
    other = graph_of("other", [make("Mul", ["c", "x"], ["t2"])], [], ["t2"])
    inner = graph_of(
        "inner",
        [
            make("Equal", ["j", "outer_number"], ["same"]),
            make("If", ["same"], ["d"], then_branch=then, else_branch=other),
            make("Identity", ["go2"], ["go_on2"]),
        ],
        [info("j", INT64, []), info("go2", BOOL, []), info("c", FLOAT, None)],
        ["go_on2", "d"],
    )
    inner.output[0].type.tensor_type.elem_type = BOOL
    body = _body(
        [
            make("Identity", ["i"], ["outer_number"]),
            make("Loop", ["two", "", "a"], ["b"], body=inner),
            make("Identity", ["go"], ["go_on"]),
        ],
        ["a"],
        ["go_on", "b"],
    )
    return [make("Loop", ["two", "", "x"], ["y"], name="the_loop", body=body)], {"two": np.int64(2)}


def _nested_torch(x: torch.Tensor) -> torch.Tensor:
    a = x
    for i in range(2):
        for j in range(2):
            a = torch.tanh(a) if i == j else a * x
    return a


def _scan() -> tuple[list[onnx.NodeProto], dict[str, object]]:
    """A running sum over axis 1 from behind, its rows along axis 2 in the order of the input."""
    body = graph_of(
        "body",
        [make("Add", ["a", "row"], ["b"]), make("Mul", ["b", "row"], ["made"])],
        [info("a", FLOAT, None), info("row", FLOAT, None)],
        ["b", "made"],
    )
    attributes = {"scan_input_axes": [1], "scan_input_directions": [1], "scan_output_axes": [2]}
    nodes = [
        make("ReduceMax", ["x", "rows"], ["start"], keepdims=0),
        make(
            "Scan", ["start", "x"], ["last", "made_rows"], name="the_scan", body=body, num_scan_inputs=1,
            scan_output_directions=[1], **attributes,
        ),
        make("Unsqueeze", ["last", "two"], ["wide"]),
        make("Add", ["made_rows", "wide"], ["y"]),
    ]  # fmt: skip
    return nodes, {"rows": np.array([1]), "two": np.array([2])}


def _scan_torch(x: torch.Tensor) -> torch.Tensor:
    state, rows = x.amax(1), []
    for k in range(x.shape[1] - 1, -1, -1):
        state = state + x[:, k]
        rows.insert(0, state * x[:, k])
    return torch.stack(rows, 2) + state[..., None]


def _by_size() -> tuple[list[onnx.NodeProto], dict[str, object]]:
    """How torch writes a squeeze of what it does not know: an If by a size that is known."""
    nodes = [
        make("Shape", ["x"], ["sizes"]),
        make("Gather", ["sizes", "two"], ["size"]),
        make("Equal", ["size", "four"], ["is_four"]),
        _if("is_four", "a"),
        make("Neg", ["a"], ["y"]),
    ]
    return nodes, {"two": np.int64(2), "four": np.int64(4)}


def _in_a_row() -> tuple[list[onnx.NodeProto], dict[str, object]]:
    """Two flows with the same names inside; the second gives the graph's output as it captures it."""
    keep = graph_of("keep", [make("Identity", ["a"], ["t"])], [], ["t"])
    drop = graph_of("drop", [make("Neg", ["a"], ["r"])], [], ["r"])
    first = _if("yes", "a")
    second = make("If", ["yes"], ["b"], name="the_second", then_branch=keep, else_branch=drop)
    third = _if("no", "c", "the_third")
    return [first, second, third, make("Add", ["b", "c"], ["y"])], {"yes": np.array(True), "no": np.array([False])}


def _no_iterations() -> tuple[list[onnx.NodeProto], dict[str, object]]:
    nodes, _ = _counted()
    return [make("Neg", ["x"], ["z"]), *_replaced(nodes, "x", "z")], {"three": np.int64(0)}


def _replaced(nodes: list[onnx.NodeProto], old: str, new: str) -> list[onnx.NodeProto]:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]
    return nodes


Built = tuple[list[onnx.NodeProto], dict[str, object]]
WRITTEN_OUT: Mapping[str, tuple[Callable[[], Built], Callable[[torch.Tensor], torch.Tensor]]] = {
    "If, then": (lambda: ([_if("yes")], {"yes": np.array(True)}), lambda x: torch.tanh(2 * x)),
    "If, else": (lambda: ([_if("no")], {"no": np.array([False])}), lambda x: 3 * x),
    "If by a known size": (_by_size, lambda x: -torch.tanh(2 * x)),
    "three Ifs": (_in_a_row, lambda x: torch.tanh(2 * x) + 3 * x),
    "Loop by count": (_counted, lambda x: _loop_rows(x, x, 3)[0]),
    "Loop by condition": (_stopped, lambda x: _loop_rows(x, x, 3)[0]),
    "Loop that collects": (_collected, lambda x: _loop_rows(x, x, 3)[1].sum(0) * _loop_rows(x, x, 3)[0]),
    "Loop of no iterations": (_no_iterations, lambda x: -x),
    "Loops and an If inside": (_nested, _nested_torch),
    "Scan": (_scan, _scan_torch),
}


@pytest.mark.parametrize(("build", "function"), WRITTEN_OUT.values(), ids=WRITTEN_OUT.keys())
def test_what_is_known_is_written_out(
    build: Callable[[], Built], function: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    proto = flow_model(*build())
    before = proto.SerializeToString()
    model = prepare(proto)
    assert flows(model) == []
    assert proto.SerializeToString() == before
    written = ir.to_proto(model)
    onnx.checker.check_model(written, full_check=True)
    (original,), (found,) = (session(each).run(None, {"x": X}) for each in (proto, written))
    np.testing.assert_allclose(found, original, rtol=1e-6)
    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    y = function(x)
    np.testing.assert_allclose(original, y.detach().numpy(), rtol=1e-5, atol=1e-6)
    cotangent = np.random.default_rng(2).normal(size=y.shape)
    (expected,) = torch.autograd.grad(y, x, torch.tensor(cotangent))
    assert relative_error(run_gradient(model, "x", {"y": cotangent}, {"x": X}), expected.numpy()) < 1e-5


class Scripted(torch.nn.Module):
    """Loops and conditions as TorchScript exports them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number in range(3):
            x = torch.tanh(x) * (number + 1) if number % 2 == 0 else x + torch.sigmoid(x)
        if x.size(2) == 4:
            x = x.mean(1)
        return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module() -> None:
    scripted, buffer = torch.jit.script(Scripted().eval()), BytesIO()
    torch.onnx.export(
        scripted, (torch.tensor(X),), buffer, dynamo=False, input_names=["x"], output_names=["y"], opset_version=18,
        dynamic_axes={"x": {0: "N"}},
    )  # fmt: skip
    proto = onnx.load_from_string(buffer.getvalue())
    assert {node.op_type for node in proto.graph.node} & {"If", "Loop"}
    model = prepare(proto)
    assert flows(model) == []
    x = torch.tensor(X, requires_grad=True)
    cotangent = torch.randn(2, 4, generator=torch.manual_seed(4))
    (expected,) = torch.autograd.grad(Scripted()(x), x, cotangent)
    found = run_gradient(model, "x", {"y": cotangent.numpy()}, {"x": X})
    assert relative_error(found, expected.numpy()) < 1e-5


def _kept_if() -> Built:
    nodes = [
        make("ReduceSum", ["x"], ["sum"], keepdims=0),
        make("Greater", ["sum", "zero"], ["positive"]),
        _if("positive"),
    ]
    return nodes, {"zero": np.float32(0)}


def _kept_batch() -> Built:
    nodes, constants = _by_size()
    return nodes, {**constants, "two": np.int64(0)}


def _kept_count() -> Built:
    nodes, _ = _counted()
    count = [make("ReduceMax", ["x"], ["largest"], keepdims=0), make("Cast", ["largest"], ["three"], to=INT64)]
    return [*count, *nodes], {}


def _kept_exit() -> Built:
    """A while loop that looks at what it computes."""
    body = _body(
        [*COUNT_UP, make("ReduceSum", ["b"], ["s"], keepdims=0), make("Less", ["s", "half"], ["go_on"])],
        ["a"],
        ["go_on", "b"],
    )
    return [make("Loop", ["", "yes", "x"], ["y"], name="the_loop", body=body)], {"yes": np.array(True)}


def _kept_long() -> Built:
    nodes, _ = _counted()
    return nodes, {"three": np.int64(MOST_ITERATIONS + 1)}


def _kept_endless() -> Built:
    body = _body([*COUNT_UP, make("Identity", ["go"], ["go_on"])], ["a"], ["go_on", "b"])
    return [make("Loop", ["", "yes", "x"], ["y"], name="the_loop", body=body)], {"yes": np.array(True)}


def _kept_largest() -> Built:
    """As exporters write a while loop whose number of iterations is an input that must be there."""
    nodes, constants = _kept_endless()
    nodes[0].input[0] = "most"
    return nodes, {**constants, "most": np.int64(2**63 - 1)}


def _kept_empty() -> Built:
    nodes, constants = _collected()
    return nodes, {**constants, "three": np.int64(0)}


KEPT: Mapping[str, tuple[Callable[[], Built], str]] = {
    "If by the image": (_kept_if, "its condition depends on the image"),
    "If by the batch size": (_kept_batch, "its condition depends on the image or on the batch size"),
    "Loop, its count from the image": (_kept_count, "its number of iterations depends on the image"),
    "Loop, too long": (_kept_long, "more than 64 iterations"),
    "Loop that collects nothing": (_kept_empty, "it has no iterations"),
}
UNBOUNDED: Mapping[str, Callable[[], Built]] = {
    "its end from the image": _kept_exit,
    "without an end": _kept_endless,
    "the largest number": _kept_largest,
}


@pytest.mark.parametrize(("build", "why"), KEPT.values(), ids=KEPT.keys())
def test_what_is_not_known_stays_and_is_refused_by_name(build: Callable[[], Built], why: str) -> None:
    model = _kept_as_it_is(build())
    with pytest.raises(UnsupportedError, match=rf"'the_(if|loop)': control flow on the path \({why}.*rise"):
        run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X})


@pytest.mark.parametrize("build", UNBOUNDED.values(), ids=UNBOUNDED.keys())
def test_a_loop_without_a_bound_is_refused_by_name(build: Callable[[], Built]) -> None:
    model = _kept_as_it_is(build())
    with pytest.raises(UnboundedLoopError, match="no gradient for Loop 'the_loop': it has no bound on its iterations"):
        run_gradient(model, "x", {"y": np.ones(X.shape)}, {"x": X})


@pytest.mark.parametrize("build", UNBOUNDED.values(), ids=UNBOUNDED.keys())
def test_a_size_that_a_loop_without_a_bound_hides_is_refused_by_its_name(build: Callable[[], Built]) -> None:
    model = prepare(flow_model(*build()))
    with pytest.raises(UnboundedLoopError, match=r"'y' is not known, because of Loop 'the_loop': it has no bound"):
        dims(model.graph.outputs[0])


def _kept_as_it_is(built: Built) -> ir.Model:
    """The prepared graph, which has the flow and nothing new; with shapes."""
    proto = flow_model(*built)
    model = prepare(proto)
    assert len(flows(model)) == 1
    written = ir.to_proto(model)
    assert len(written.graph.initializer) == len(proto.graph.initializer)
    assert [node.op_type for node in written.graph.node] == [node.op_type for node in proto.graph.node]
    for node in model.graph:
        for output in node.outputs:
            if output.shape is None:
                output.shape, output.type = model.graph.inputs[0].shape, model.graph.inputs[0].type
    return model


def test_the_graph_does_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrolling, "MOST_NODES", 12)
    model = prepare(flow_model(*_counted()))
    assert flows(model) == ["Loop"]
    (node,) = model.graph
    assert unrolling.why_kept(node) is unrolling.WhyKept.NODES


def test_a_graph_without_flows_is_left_alone() -> None:
    model = ir.from_proto(flow_model([make("Neg", ["x"], ["y"])], {}))
    before = ir.to_proto(model).SerializeToString()
    unroll(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_what_was_written_out_is_reported() -> None:
    proto = flow_model(*_nested())
    assert "1 of 1 If, Loop and Scan written out" in changes(proto, prepare(proto))
