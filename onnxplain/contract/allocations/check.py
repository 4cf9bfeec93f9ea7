"""Refuse a graph of too many nodes, or a node that makes too many numbers, before it runs.

ONNX Runtime cannot be told beforehand what loading and running may take, and it computes what depends on constants
alone when it loads a file.
"""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Iterator, Mapping, MutableMapping, Sequence

import numpy as np

from onnxplain.contract.allocations.constants import SmallArray, computed
from onnxplain.contract.allocations.graph import (
    MOST_KNOWN,
    KnownShape,
    Numbers,
    PlainFunction,
    PlainGraph,
    PlainModel,
    PlainNode,
)
from onnxplain.contract.allocations.shapes import KnownInputs, elements, has_shape_rule, made_shape
from onnxplain.contract.image_input import LARGEST_INPUT
from onnxplain.errors import ModelError

LARGEST_VALUE = 2**28
# Written out, the local functions of a file may make so many nodes. Files without functions have what they have.
MOST_WRITTEN_OUT = 100_000
# Functions that call functions, and subgraphs in subgraphs.
DEEPEST = 64
_ADVICE = "export the model again, without it"


def check_allocations(model: PlainModel) -> None:
    """Raise ModelError for functions that make more than `MOST_WRITTEN_OUT` nodes, or a value above `LARGEST_VALUE`."""
    if model.functions:
        _count(model.graph, model.functions, {}, ())
    known = _Known({}, {})
    _follow(model.graph, model.functions, known, {}, 0)


def _count(
    graph: PlainGraph,
    functions: Mapping[tuple[str, str], PlainFunction],
    counted: dict[tuple[str, str], int],
    calls: tuple[tuple[str, str], ...],
) -> int:
    """The nodes of a graph after its functions are written out; each call counts as one more."""
    if len(calls) > DEEPEST:
        raise ModelError(
            f"found local functions that call each other {DEEPEST} deep or without end, expected less: {_ADVICE}"
        )
    total = 0
    for node in graph.nodes:
        name = (node.domain, node.operator)
        function = functions.get(name)
        if function is not None and name not in counted:
            counted[name] = _count(function.body, functions, counted, (*calls, name))
        # A call of an empty function takes time too.
        total += 1 + counted.get(name, 0)
        total += sum(_count(body, functions, counted, (*calls, name)) for body in node.bodies)
        if total > MOST_WRITTEN_OUT:
            raise ModelError(
                f"found local functions that make more than {MOST_WRITTEN_OUT:,} nodes, expected at most so many: "
                f"{_ADVICE}"
            )
    return total


class _Known:
    """What is known of the values that a graph can see: small values, and shapes."""

    def __init__(self, values: MutableMapping[str, SmallArray], shapes: MutableMapping[str, KnownShape]) -> None:
        self.values, self.shapes = values, shapes

    def inside(self) -> _Known:
        """For a subgraph: it sees what is around it, and its own names end with it."""
        return _Known(ChainMap({}, self.values), ChainMap({}, self.shapes))

    def state(self, name: str, value: SmallArray | None, shape: KnownShape | None) -> None:
        """Write down what is known of a value."""
        if value is not None:
            self.values[name] = value
            shape = value.shape
        if shape is not None:
            self.shapes[name] = shape


def _follow(
    graph: PlainGraph,
    functions: Mapping[tuple[str, str], PlainFunction],
    known: _Known,
    given: Mapping[str, Numbers],
    depth: int,
) -> None:
    """Follow the constants through a graph. `given`: the attributes of the function that it is the body of."""
    if depth > DEEPEST:
        raise ModelError(f"found subgraphs {DEEPEST} deep, expected less: {_ADVICE}")
    for name, stated in graph.shapes.items():
        # A larger input is refused as such, when the input is read.
        known.state(name, graph.constants.get(name), stated if elements(stated) <= LARGEST_INPUT else None)
    for node in _in_order(graph.nodes):
        attributes = {**node.attributes, **{n: given[at] for n, at in node.refers.items() if at in given}}
        inputs = KnownInputs(
            [known.values.get(name) for name in node.inputs],
            [known.shapes.get(name) for name in node.inputs],
            attributes,
        )
        function = functions.get((node.domain, node.operator))
        if function is not None:
            _call(function, functions, node, inputs, known, depth)
            continue
        for body in node.bodies:
            _follow(body, functions, known.inside(), given, depth + 1)
        if node.domain == "" and node.outputs:
            value, shape = _made(node, inputs)
            _check(node, shape if node.operator != "Loop" else _collected(node, inputs))
            known.state(node.outputs[0], value, shape)


def _call(
    function: PlainFunction,
    functions: Mapping[tuple[str, str], PlainFunction],
    node: PlainNode,
    inputs: KnownInputs,
    known: _Known,
    depth: int,
) -> None:
    inner = _Known({}, {})
    for name, value, shape in zip(function.body.inputs, inputs.values, inputs.shapes, strict=False):
        inner.state(name, value, shape)
    _follow(function.body, functions, inner, {**function.defaults, **inputs.attributes}, depth + 1)
    for name, output in zip(function.body.outputs, node.outputs, strict=False):
        known.state(output, inner.values.get(name), inner.shapes.get(name))


def _made(node: PlainNode, inputs: KnownInputs) -> tuple[SmallArray | None, KnownShape | None]:
    """The value of a node's first output where it is small and known, and its shape."""
    if node.operator == "Constant":
        return node.constant, None
    if node.operator in ("Shape", "Size"):
        return _measured(node.operator, inputs), None
    shape = made_shape(node.operator, inputs)
    unknown = shape is None and has_shape_rule(node.operator)
    if unknown or (shape is not None and elements(shape) > MOST_KNOWN):
        return None, shape
    return computed(node.operator, inputs.values, inputs.attributes), shape


def _measured(operator: str, inputs: KnownInputs) -> SmallArray | None:
    """The value of Shape and Size."""
    shape = inputs.shape(0)
    if shape is None or None in shape:
        return None
    sizes = np.array(shape, np.int64)
    if operator == "Size":
        return np.array(elements(shape)) if elements(shape) <= LARGEST_VALUE else None
    end = inputs.attributes.get("end")
    return sizes[inputs.number("start", 0) : None if end is None else inputs.number("end", 0)]


def _collected(node: PlainNode, inputs: KnownInputs) -> KnownShape | None:
    """What a Loop collects, if all its turns are certain: at least one number per turn.

    Inputs: turns, condition, values that are carried. Body: turn, condition, values to condition, values, collected.
    """
    turns = inputs.sizes(0)
    if not turns or len(node.bodies) != 1 or not node.outputs:
        return None
    (body,) = node.bodies
    carried = max(len(node.inputs) - 2, 0)
    collects = len(body.outputs) > 1 + carried
    if not collects or not body.outputs:
        return None
    goes_on = {body.inputs[1]} if len(body.inputs) > 1 else set()
    goes_on |= {name for name, value in body.constants.items() if value.size == 1 and value.all()}
    for inner in body.nodes:
        certain = inner.constant is not None and inner.constant.size == 1 and bool(inner.constant.all())
        if certain or (inner.operator == "Identity" and goes_on.issuperset(inner.inputs)):
            goes_on.update(inner.outputs)
    return (turns[0],) if body.outputs[0] in goes_on else None


def _check(node: PlainNode, shape: KnownShape | None) -> None:
    count = 0 if shape is None else elements(shape)
    if count > LARGEST_VALUE:
        raise ModelError(
            f"found a {node.operator} that makes {count:,} numbers ({node.outputs[0]:.60}), expected at most "
            f"{LARGEST_VALUE:,}: {_ADVICE}"
        )


def _in_order(nodes: Sequence[PlainNode]) -> Iterator[PlainNode]:
    """The nodes, each behind those that compute its inputs; nodes of a cycle are left out."""
    made_here = {name for node in nodes for name in node.outputs if name}
    missing, users = [], defaultdict(list)
    for index, node in enumerate(nodes):
        waits = made_here.intersection(_reads(node))
        missing.append(len(waits))
        for name in waits:
            users[name].append(index)
    ready = [index for index in reversed(range(len(nodes))) if not missing[index]]
    while ready:
        node = nodes[ready.pop()]
        yield node
        for name in set(node.outputs):
            for index in users.pop(name, ()):
                missing[index] -= 1
                if not missing[index]:
                    ready.append(index)


def _reads(node: PlainNode) -> Iterator[str]:
    """The values that a node reads, its subgraphs too."""
    yield from node.inputs
    for body in node.bodies:
        yield from body.outputs
        for inner in body.nodes:
            yield from _reads(inner)
