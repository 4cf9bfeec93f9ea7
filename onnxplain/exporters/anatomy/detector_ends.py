"""The end of a detector's graph: the outputs that hold its candidates, and the values that hold boxes and scores.

A detector has no heads. Its candidates are rows of its outputs (contract/detectors/layout.py): class scores and the
numbers of a box in columns, levels in several outputs or one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxplain.contract.detectors import DetectorSpec, LayoutOutput
from onnxplain.contract.detectors.layout import ColumnPart
from onnxplain.errors import ModelError, UnsupportedError
from onnxplain.exporters.anatomy.heads import float_source
from onnxplain.exporters.graph.values import dims, int_attribute, maybe_dims, producer_of, static_dims
from onnxplain.exporters.operators.operator import Hands
from onnxplain.exporters.operators.table import hands_on, operator_of

SCORE_PARTS: frozenset[ColumnPart] = frozenset({"classes", "score", "objectness"})
_ACTIVATIONS = frozenset({"Sigmoid", "Softmax"})
# Operators that pick or order scores, and return them unchanged.
_PICKING = frozenset({"Concat", "Gather", "GatherElements", "GatherND", "Slice", "Split", "TopK", "Transpose"})


@dataclass(frozen=True)
class DetectorEnd:
    """An output, or the float value that it was quantized from.

    `axes`: the order of its axes, in the letters of `LayoutOutput`. `columns`: first column and end of each part.
    `first`: the number of its first candidate. `count`: how many it has; None if that depends on the image.
    """

    value: ir.Value
    axes: str
    columns: Mapping[ColumnPart, tuple[int, int]]
    first: int = 0
    count: int | None = None

    @property
    def column_axis(self) -> int | None:
        """The axis of the columns; None where there is one column without an axis."""
        return self.axes.index("K") if "K" in self.axes else None

    def holders(self, parts: Sequence[ColumnPart]) -> list[ir.Value]:
        """The values that hold these parts, as far back as operators only lay them side by side."""
        found: dict[ir.Value, None] = {}
        for part in parts:
            if part in self.columns:
                found |= dict.fromkeys(_holders(self.value, self.column_axis, self.columns[part]))
        return list(found)


@dataclass(frozen=True)
class DetectorEnds:
    """What is differentiated of a detector.

    `ends`: the outputs that are read, level by level. `activations`: the outputs of the Sigmoids or Softmaxes that hold
    class scores and objectness, which the outputs only move; empty where these are raw numbers, products, or something
    else.
    """

    spec: DetectorSpec
    size_hw: tuple[int, int]
    ends: tuple[DetectorEnd, ...]
    activations: tuple[ir.Value, ...] = ()

    @property
    def values(self) -> tuple[ir.Value, ...]:
        """The values of the outputs."""
        return tuple(end.value for end in self.ends)

    @property
    def has_objectness(self) -> bool:
        """Whether a score is a product of objectness and class."""
        return any("objectness" in end.columns for end in self.ends)

    @property
    def starts(self) -> tuple[ir.Value, ...]:
        """The values at which gradients start: outputs, and what stands before the activations."""
        return (*self.values, *map(logits_of, self.activations))

    def holders(self, *parts: ColumnPart) -> list[ir.Value]:
        """The values that hold these parts of any output."""
        return list(dict.fromkeys(value for end in self.ends for value in end.holders(parts)))


def find_detector_ends(graph: ir.Graph, spec: DetectorSpec, size_hw: tuple[int, int]) -> DetectorEnds:
    """The end of a detector's graph. Raises UnsupportedError for a layout whose gradients are not offered."""
    layout = spec.layout
    check_gradients(spec)
    outputs = {output.name: output for output in graph.outputs}
    ends: list[DetectorEnd] = []
    for wanted, names in zip(layout.outputs, spec.outputs, strict=True):
        first = 0
        for name in names:
            if not _is_read(wanted):
                continue
            end = _end(spec, wanted, float_source(outputs[name]), first)
            ends += _split(end)
            first += end.count or 0
    scores = [value for end in ends for value in end.holders(tuple(SCORE_PARTS))]
    return DetectorEnds(spec, size_hw, tuple(ends), () if layout.activation != "none" else _activations(scores))


def check_gradients(spec: DetectorSpec) -> None:
    """Raise UnsupportedError for a layout whose gradients are not offered."""
    if not spec.layout.gradients:
        raise UnsupportedError(
            f"found a detector (layout {spec.layout_name}), which has no gradients: its boxes are chosen in loops, "
            "branches or regions of a map; rise explains them"
        )


def logits_of(activation: ir.Value) -> ir.Value:
    """The input of the Sigmoid or Softmax that computes a value."""
    node = producer_of(activation)
    assert node is not None and node.inputs[0] is not None
    return node.inputs[0]


def _is_read(wanted: LayoutOutput) -> bool:
    return "box" in wanted.columns or bool(SCORE_PARTS.intersection(wanted.columns))


def _end(spec: DetectorSpec, wanted: LayoutOutput, value: ir.Value, first: int) -> DetectorEnd:
    shape = dims(value)
    axes = next((axes for axes in wanted.axes if len(axes) == len(shape)), None)
    if axes is None or "1" in axes:
        raise ModelError(
            f"output {value.name!r}: found {len(shape)} axes, expected those of the layout {spec.layout_name}: export "
            "the model with fixed sizes, or state another layout with --detector"
        )
    total = static_dims(value, (axes.index("K"),))[0] if "K" in axes else 1
    widths = {part: spec.layout.width(part) for part in wanted.columns}
    if "classes" in widths:
        if spec.classes is None:
            raise ModelError(f"output {value.name!r}: found an open number of classes, expected a number: fix its size")
        widths["classes"] = spec.classes + spec.layout.backgrounds
    known = sum(width for width in widths.values() if width is not None)
    columns: dict[ColumnPart, tuple[int, int]] = {}
    start = 0
    for part, width in widths.items():
        stop = start + (total - known if width is None else width)
        columns[part] = start, stop
        start = stop
    sides = [shape[axes.index(letter)] for letter in axes if letter in "Mhw"]
    count = 1
    for side in sides:
        count = count * side if isinstance(side, int) else 0
    return DetectorEnd(value, axes, columns, first, count or None)


def _split(end: DetectorEnd) -> list[DetectorEnd]:
    """The parts of a Concat that lays whole parts of an end side by side; the end itself if it is none.

    Gradients that start at one part then do not pass the others.
    """
    node, axis = producer_of(end.value), end.column_axis
    if node is None or node.op_type != "Concat" or axis is None:
        return [end]
    if int_attribute(node, "axis", 0) % len(end.axes) != axis:
        return [end]
    found, start = [], 0
    for source in node.inputs:
        width = None if source is None else (maybe_dims(source) or (None,) * len(end.axes))[axis]
        if source is None or not isinstance(width, int):
            return [end]
        inside = {part: span for part, span in end.columns.items() if start <= span[0] and span[1] <= start + width}
        if any(
            stop > start and first < start + width for part, (first, stop) in end.columns.items() if part not in inside
        ):
            return [end]
        columns = {part: (first - start, stop - start) for part, (first, stop) in inside.items()}
        if producer_of(source) is not None and columns:
            found.append(DetectorEnd(source, end.axes, columns, end.first, end.count))
        start += width
    return found or [end]


def _holders(value: ir.Value, axis: int | None, columns: tuple[int, int]) -> Iterator[ir.Value]:
    """The values that hold some columns along `axis`: back through Concat, Transpose and what keeps the columns."""
    node, shape = producer_of(value), maybe_dims(value)
    source = None if node is None or not node.inputs else node.inputs[0]
    before = None if source is None else maybe_dims(source)
    if node is None or source is None or shape is None or before is None or axis is None:
        yield value
    elif operator_of(node).computes == "Concat":
        yield from _beside(node, axis, columns, value)
    elif hands_on(node, Hands.WHOLE, Hands.ROUNDED):
        yield from _holders(source, axis, columns)
    elif node.op_type == "Transpose":
        order = node.attributes.get_ints("perm") or tuple(reversed(range(len(shape))))
        yield from _holders(source, order[axis], columns)
    elif hands_on(node, Hands.RESHAPED) and shape[axis] == before[-1] and axis == len(shape) - 1:
        yield from _holders(source, len(before) - 1, columns)
    elif hands_on(node, Hands.RESHAPED) and len(before) > axis and shape[1 : axis + 1] == before[1 : axis + 1]:
        yield from _holders(source, axis, columns)
    else:
        yield value


def _beside(node: ir.Node, axis: int, columns: tuple[int, int], value: ir.Value) -> Iterator[ir.Value]:
    """The same at a Concat: along the columns those parts that overlap them, along other axes all."""
    parts = [source for source in node.inputs if source is not None and maybe_dims(source) is not None]
    rank = len(dims(value))
    if int_attribute(node, "axis", 0) % rank != axis:
        for part in parts:
            yield from _holders(part, axis, columns)
        return
    start = 0
    for part in parts:
        width = dims(part)[axis]
        if not isinstance(width, int):
            yield value
            return
        low, high = max(columns[0] - start, 0), min(columns[1] - start, width)
        if low < high:
            yield from _holders(part, axis, (low, high))
        start += width


def _activations(scores: Sequence[ir.Value]) -> tuple[ir.Value, ...]:
    """The outputs of the activations that compute all of these scores; empty if anything else takes part."""
    found: dict[ir.Value, None] = {}
    waiting, seen = list(scores), set[ir.Value]()
    while waiting:
        value = waiting.pop()
        node = producer_of(value)
        if value in seen:
            continue
        seen.add(value)
        if node is None or node.inputs[0] is None:
            return ()
        if node.op_type in _ACTIVATIONS:
            found[value] = None
        elif operator_of(node).computes == "Concat":
            waiting += [source for source in node.inputs if source is not None and producer_of(source) is not None]
        elif node.op_type in _PICKING or hands_on(node, *Hands):
            waiting.append(node.inputs[0])
        else:
            return ()
    return tuple(found)
