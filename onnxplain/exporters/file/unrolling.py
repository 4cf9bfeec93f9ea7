"""If, Loop and Scan written out, where it is known before a run what they will do.

Exporters write them for a squeeze of unknown rank, for a repeated block, for a loop over the rows of a map. What stays
is refused by name where it lies between a layer and the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import cast

import numpy as np
import onnx_ir as ir

from onnxplain.exporters.file.known_content import known_content
from onnxplain.exporters.file.pool_shapes import infer_shapes
from onnxplain.exporters.graph.values import STANDARD, int_attribute, maybe_dims, name_of, producer_of
from onnxplain.exporters.operators.table import operator_of

MOST_ITERATIONS = 64
MOST_NODES = 20_000
WHY_KEPT = "onnxplain.why_kept"


class WhyKept(Enum):
    """Why a node with a graph of its own stays as it is."""

    CONDITION = "its condition depends on the image or on the batch size"
    COUNT = "its number of iterations depends on the image or on the batch size"
    ITERATIONS = f"more than {MOST_ITERATIONS} iterations"
    NODES = f"written out, the graph would have more than {MOST_NODES} nodes"
    NOTHING = "it has no iterations"


class _KeptError(Exception):
    """What cannot be written out."""

    def __init__(self, why: WhyKept) -> None:
        super().__init__(why.value)
        self.why = why


def unroll(model: ir.Model) -> None:
    """Replace If by the branch that will be taken, Loop and Scan by their iterations; in place.

    At most `MOST_ITERATIONS` iterations of one loop and `MOST_NODES` nodes. Sizes are inferred on the way; a node that
    stays says why in its `meta`.
    """
    changed = True
    while changed and any(operator_of(node).control_flow for node in model.graph):
        infer_shapes(model)
        changed = False
        for node in [node for node in model.graph if operator_of(node).control_flow and node.domain in STANDARD]:
            splice = _Splice(model.graph, node)
            try:
                results = WRITE_OUT[node.op_type](splice, node)
            except _KeptError as kept:
                splice.undo()
                node.meta[WHY_KEPT] = kept.why
                continue
            splice.take_the_place(results)
            changed = True
            # What it made may decide what follows.
            break


def why_kept(node: ir.Node) -> WhyKept | None:
    """Why `unroll` left the node; None where it did not look at it."""
    return cast("WhyKept | None", node.meta.get(WHY_KEPT))


class _Splice:
    """Nodes put into the graph in front of one node, whose place they are to take."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph, self._node = graph, node
        self._made: list[ir.Node] = []
        self._constants: list[ir.Value] = []
        # Names of values are unique, those of nodes need not be. A flow inside a flow may have taken over its name.
        self._prefix = next(output.name for output in node.outputs if output.name)
        taken = [*graph.initializers, *(output.name or "" for other in graph for output in other.outputs)]
        while any(name.startswith(f"{self._prefix}/") for name in taken):
            self._prefix += "_"
        self._copies = 0

    def copy(self, body: ir.Graph, operands: Sequence[ir.Value]) -> list[ir.Value]:
        """The body's nodes on other operands; its results."""
        if self._graph.num_nodes() + sum(1 for _ in body.all_nodes()) > MOST_NODES:
            raise _KeptError(WhyKept.NODES)
        prefix = f"{self._prefix}/{self._copies}"
        self._copies += 1
        inner = body.clone(allow_outer_scope_values=True)
        given = dict(zip(inner.inputs, operands, strict=True))
        ir.convenience.replace_all_uses_with(list(given.keys()), list(given.values()))
        for value in list(inner.initializers.values()):
            inner.initializers.pop(name_of(value))
            value.name = f"{prefix}/{value.name}"
            self._register(value)
        outputs = [given.get(output, output) for output in inner.outputs]
        nodes = list(inner)
        inner.outputs.clear()
        inner.remove(nodes)
        for index, node in enumerate(nodes):
            node.name = f"{prefix}/{node.name or f'{node.op_type}_{index}'}"
            for output in node.outputs:
                output.name = f"{prefix}/{output.name}" if output.name else output.name
        self._insert(nodes)
        return outputs

    def emit(self, op_type: str, inputs: Sequence[ir.Value], **attributes: int) -> ir.Value:
        """One more node."""
        node = ir.node(op_type, inputs, attributes, name=f"{self._prefix}/{op_type}_{len(self._made)}")
        node.outputs[0].name = f"{node.name}_output"
        self._insert([node])
        return node.outputs[0]

    def constant(self, array: np.ndarray) -> ir.Value:
        """One more initializer."""
        name = f"{self._prefix}/constant_{len(self._constants)}"
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.from_numpy(array.dtype)
        self._register(value)
        return value

    def take_the_place(self, results: Sequence[ir.Value]) -> None:
        """Let the results be what the node made, under the names of its outputs."""
        renamed: set[ir.Value] = set()
        for output, result in zip(list(self._node.outputs), results, strict=True):
            own = producer_of(result) in self._made and result not in renamed
            value = result if own else self.emit("Identity", [result])
            name = output.name
            ir.convenience.replace_all_uses_with(output, value, replace_graph_outputs=True)
            output.name, value.name = f"{name}/before", name
            if value.dtype is None:
                value.type = output.type
            renamed.add(value)
        self._graph.remove(self._node, safe=True)

    def undo(self) -> None:
        """Take everything out again."""
        self._graph.remove(self._made, safe=True)
        for value in self._constants:
            self._graph.initializers.pop(name_of(value))

    def _insert(self, nodes: Sequence[ir.Node]) -> None:
        self._graph.insert_before(self._node, nodes)
        self._made.extend(nodes)

    def _register(self, value: ir.Value) -> None:
        self._graph.register_initializer(value)
        self._constants.append(value)


def _write_out_if(splice: _Splice, node: ir.Node) -> list[ir.Value]:
    condition = known_content(node.inputs[0])
    if condition is None:
        raise _KeptError(WhyKept.CONDITION)
    branch = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
    return splice.copy(node.attributes[branch].as_graph(), [])


def _write_out_loop(splice: _Splice, node: ir.Node) -> list[ir.Value]:
    """Operators.md, Loop: the body gets number and condition, gives the next condition, and what is carried."""
    body, (count, condition, *carried) = node.attributes["body"].as_graph(), node.inputs
    trips, go_on = known_content(count), known_content(condition) if condition is not None else np.array(True)
    if go_on is None or (count is not None and trips is None):
        raise _KeptError(WhyKept.COUNT)
    most = int(trips.reshape(-1)[0]) if trips is not None else MOST_ITERATIONS + 1
    states = [value for value in carried if value is not None]
    collected: list[list[ir.Value]] = [[] for _ in node.outputs[len(states) :]]
    iteration = 0
    while iteration < most and bool(go_on.reshape(-1)[0]):
        if iteration == MOST_ITERATIONS:
            raise _KeptError(WhyKept.ITERATIONS)
        numbers = [splice.constant(np.array(iteration, np.int64)), splice.constant(np.array(True))]
        next_condition, *results = splice.copy(body, [*numbers, *states])
        states, rows = results[: len(states)], results[len(states) :]
        for row, rows_so_far in zip(rows, collected, strict=True):
            rows_so_far.append(row)
        found = known_content(next_condition)
        if found is None:
            raise _KeptError(WhyKept.COUNT)
        go_on, iteration = found, iteration + 1
    return [*states, *(_stacked(splice, rows, 0) for rows in collected)]


def _write_out_scan(splice: _Splice, node: ir.Node) -> list[ir.Value]:
    """Operators.md, Scan: the body gets the states and one slice of each scanned input."""
    body, scanned = node.attributes["body"].as_graph(), int_attribute(node, "num_scan_inputs", 1)
    values = [value for value in node.inputs if value is not None]
    states, sources = values[: len(values) - scanned], values[len(values) - scanned :]
    axes = list(node.attributes.get_ints("scan_input_axes", ())) or [0] * scanned
    backwards = list(node.attributes.get_ints("scan_input_directions", ())) or [0] * scanned
    shape = maybe_dims(sources[0])
    length = None if shape is None else shape[axes[0]]
    if not isinstance(length, int):
        raise _KeptError(WhyKept.COUNT)
    if length > MOST_ITERATIONS:
        raise _KeptError(WhyKept.ITERATIONS)
    collected: list[list[ir.Value]] = [[] for _ in node.outputs[len(states) :]]
    for iteration in range(length):
        slices = []
        for source, axis, turned in zip(sources, axes, backwards, strict=True):
            place = np.array(length - 1 - iteration if turned else iteration, np.int64)
            slices.append(splice.emit("Gather", [source, splice.constant(place)], axis=axis))
        results = splice.copy(body, [*states, *slices])
        states, rows = results[: len(states)], results[len(states) :]
        for row, rows_so_far in zip(rows, collected, strict=True):
            rows_so_far.append(row)
    out_axes = list(node.attributes.get_ints("scan_output_axes", ())) or [0] * len(collected)
    prepended = list(node.attributes.get_ints("scan_output_directions", ())) or [0] * len(collected)
    stacked = [
        _stacked(splice, rows[::-1] if turned else rows, axis)
        for rows, axis, turned in zip(collected, out_axes, prepended, strict=True)
    ]
    return [*states, *stacked]


def _stacked(splice: _Splice, rows: Sequence[ir.Value], axis: int) -> ir.Value:
    if not rows:
        raise _KeptError(WhyKept.NOTHING)
    axes = splice.constant(np.array([axis], np.int64))
    return splice.emit("Concat", [splice.emit("Unsqueeze", [row, axes]) for row in rows], axis=axis)


WRITE_OUT: dict[str, Callable[[_Splice, ir.Node], list[ir.Value]]] = {
    "If": _write_out_if,
    "Loop": _write_out_loop,
    "Scan": _write_out_scan,
}
