"""The heads of a graph as the metadata describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxplain.contract import BoxSpec, HeadSpec, labels_by_head
from onnxplain.exporters.anatomy.heads import Head
from onnxplain.exporters.graph.values import name_of
from onnxplain.exporters.writing.request import Request
from onnxplain.sidecars import SidecarFacts


def head_specs(
    heads: Sequence[Head], answers: Sequence[ir.Value], request: Request, read: SidecarFacts, labelled: Head | None
) -> tuple[HeadSpec, ...]:
    """One description per head. `answers`: the output that holds what each answers with.

    `labelled`: the head that the labels in `read` belong to. Raises OnnxplainError for labels of another number.
    """
    specs = tuple(_spec(head, answer, request) for head, answer in zip(heads, answers, strict=True))
    labels = {} if labelled is None or read.labels is None else {labelled.name: read.labels.value}
    names = {spec.name for spec in specs}
    labels |= {name: known for name, known in request.earlier_labels.items() if name in names}
    labels |= labels_by_head(request.labels, specs) if request.labels else {}
    return tuple(replace(spec, labels=labels.get(spec.name, ())) for spec in specs)


def _spec(head: Head, answer: ir.Value, request: Request) -> HeadSpec:
    return HeadSpec(
        name=head.name,
        kind=head.kind,
        size=head.size,
        logits=name_of(answer),
        scores=None if head.scores is None else name_of(head.scores),
        score_form=head.score_form,
        box=BoxSpec(request.box_format, request.box_units) if head.kind == "box" else None,
        map_size_hw=head.map_size_hw,
        sigmoid=head.sigmoid,
        evidence=head.evidence,
    )
