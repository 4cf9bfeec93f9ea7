"""What outputs mean beside each other: the same answer twice, features before another head, rows of a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from onnxplain.contract.heads.found import FoundHead, FoundHeads, OutputFault, UnusedOutput
from onnxplain.contract.heads.graph_end import GraphEnd
from onnxplain.contract.heads.spec import BOX_COORDINATES
from onnxplain.contract.heads.trail import has_product
from onnxplain.contract.image_input import Dim


def judge_together(
    end: GraphEnd,
    heads: Sequence[FoundHead],
    unused: Sequence[UnusedOutput],
    bottoms: Mapping[str, str],
    named: Set[str],
) -> FoundHeads:
    """One head per answer, without features, candidates of a detector, and what may be a box.

    `bottoms`: the value behind each output that equal answers share. `named`: outputs that the user states; they stay.
    """
    left = list(unused)
    stated = {bottoms[head.name] for head in heads if head.evidence.kind == "stated"}
    merged: dict[tuple[str, str], FoundHead] = {}
    for head in heads:
        bottom = bottoms[head.name]
        key = bottom, head.kind if bottom in stated else ""
        known = merged.get(key)
        if known is not None and _contradict(known, head):
            left.append(UnusedOutput(end.value(head.name), OutputFault.KINDS, f"{known.kind} or {head.kind}"))
        else:
            merged[key] = head if known is None else _joined(known, head)
    found = list(merged.values())
    detector = [head for head in found if _beside_rows(end, head) is not None]
    kept: list[FoundHead] = []
    for head in found:
        others = [other for other in found if other is not head]
        is_stated = bool(named & {head.name, *(output.name for output in head.outputs)})
        fault = None if is_stated else _fault(end, head, others, detector)
        if fault is None:
            kept.append(head)
        else:
            left.append(UnusedOutput(end.value(head.name), *fault))
    return FoundHeads(tuple(kept), tuple(left))


def _contradict(one: FoundHead, other: FoundHead) -> bool:
    """Whether the graph says two kinds of the same value: its Softmax and its Sigmoid."""
    return one.kind != other.kind and one.evidence.kind == other.evidence.kind == "graph" and not _is_picked(other)


def _joined(one: FoundHead, other: FoundHead) -> FoundHead:
    """The surer of two readings of the same value, with the outputs of both."""
    surer = other if _sureness(other) < _sureness(one) else one
    return replace(surer, name=one.name, outputs=(*one.outputs, *other.outputs))


def _sureness(head: FoundHead) -> tuple[int, bool]:
    order = ("metadata", "stated", "read", "graph", "assumed")
    return order.index(head.evidence.kind), _is_picked(head)


def _is_picked(head: FoundHead) -> bool:
    return all(output.holds == "picked" for output in head.outputs)


def _fault(
    end: GraphEnd, head: FoundHead, others: Sequence[FoundHead], detector: Sequence[FoundHead]
) -> tuple[OutputFault, str] | None:
    """Why an output is no head, judged by the outputs beside it. `detector`: heads that look like its rows."""
    guessed = head.evidence.kind in ("assumed", "read") or (head.kind == "values" and head.evidence.kind == "graph")
    rows = _beside_rows(end, head)
    if rows is not None:
        return OutputFault.DETECTIONS, rows
    if detector and guessed:
        return OutputFault.DETECTIONS, detector[0].name
    for other in others if guessed else ():
        if head.source in set(end.upstream(other.source)) and has_product(end, head.source, other.source):
            return OutputFault.LEADS, other.name
        if other.source in set(end.upstream(head.source)) and not has_product(end, other.source, head.source):
            return OutputFault.AFTER, other.name
    may_be_box = head.size == BOX_COORDINATES and head.kind in ("classes", "labels") and others
    if may_be_box and (head.evidence.kind == "assumed" or head.kind == "labels"):
        return OutputFault.BOX_OR, f"box or {head.kind}"
    return None


def _beside_rows(end: GraphEnd, head: FoundHead) -> str | None:
    """Another output with a row for each of the same candidates, as detectors have; None without one."""
    if head.kind not in ("classes", "labels", "values") or head.evidence.kind in ("metadata", "stated"):
        return None
    dims = end.value(head.name).dims
    count = None if dims is None or len(dims) not in (2, 3) else dims[1]
    for output in end.outputs if count not in (None, 1) else ():
        if output.name != head.name and _rows(output.dims) == count:
            boxes = output.dims is not None and output.dims[2] == BOX_COORDINATES
            if boxes or (dims is not None and len(dims) == 3):
                return output.name
    return None


def _rows(dims: tuple[Dim, ...] | None) -> Dim:
    """M of [N, M, k], the number of candidates of a detector; None for another rank."""
    return dims[1] if dims is not None and len(dims) == 3 else None
