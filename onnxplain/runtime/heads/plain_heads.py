"""The heads of a file that nobody instrumented, from what its graph's end tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from onnxplain.contract import (
    BoxSpec,
    EndNode,
    FoundHead,
    FoundHeads,
    GraphEnd,
    HeadKind,
    HeadSpec,
    OutputFault,
    ReadKind,
    ScoreForm,
    StatedHead,
    UnusedOutput,
    order_heads,
    stated_default,
    tell_heads,
)
from onnxplain.contract.heads.trail import follow
from onnxplain.errors import ModelError
from onnxplain.runtime.scores import SMALLEST_INTEGER

# Where a node keeps the scale of its integers among its inputs; the zero point stands one place behind.
_SCALES = {"QuantizeLinear": 1, "Sigmoid": 3, "Softmax": 3}
_KINDS = ", ".join(get_args(HeadKind))
_MOVED = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")


@dataclass(frozen=True)
class PlainHeads:
    """The heads in the order in which targets count them, and the outputs that are none, each with its reason."""

    heads: tuple[HeadSpec, ...]
    unused: tuple[UnusedOutput, ...] = ()


def find_plain_heads(end: GraphEnd, stated: Sequence[StatedHead] = (), read: ReadKind | None = None) -> PlainHeads:
    """The heads that a plain file can answer with.

    Raises ModelError if there are none, if several kinds fit an output, and for a stated head that is no output.
    """
    outputs = {output.name for output in end.outputs}
    for name in (head.name for head in stated if head.name not in outputs):
        advice = ": instrument the file first, which adds an output for it" if name in end.producers else ""
        if ":" in name and name.rpartition(":")[0] in outputs:
            advice = f", and one of the kinds {_KINDS}, none"
        listed = ", ".join(output.name for output in end.outputs)
        raise ModelError(f"--head {name}: found no such output, expected one of {listed}{advice}")
    found = tell_heads(end, stated, read)
    if found.refused:
        raise ModelError(_describe_refusal(found))
    heads: list[HeadSpec] = []
    unused = list(found.unused)
    asked = {head.name for head in stated}
    for each in found.heads:
        told = _spec_of(end, each)
        if isinstance(told, HeadSpec):
            heads.append(told)
        elif asked & {output.name for output in each.outputs}:
            raise ModelError(f"--head {told}")
        else:
            unused.append(told)
    if not heads:
        raise ModelError(_describe_refusal(FoundHeads((), tuple(unused))))
    default = stated_default(stated)
    owners = [each.name for each in found.heads if default in {output.name for output in each.outputs}]
    return PlainHeads(order_heads(heads, owners[0] if owners else None), tuple(unused))


def _describe_refusal(found: FoundHeads) -> str:
    """One line about all outputs for which a file is refused."""
    listed = "; ".join(str(output) for output in found.refused) or "none"
    return f"found the outputs {listed}; expected an answer whose kind is known ({_KINDS})"


def _spec_of(end: GraphEnd, head: FoundHead) -> HeadSpec | UnusedOutput:
    """The head as the engine reads it, or why it cannot be read."""
    tip = end.value(head.outputs[0].name)
    sources = [each for each in head.outputs if each.holds == "source" and _is_source(end, head, each.name)]
    source, scores = next(iter(sources), None), head.first("scores")
    form = ScoreForm()
    if scores is not None:
        read = _score_form(end, head, scores.name, scores.form)
        scores, form = (scores, read) if read is not None else (None, form)
    elif source is not None:
        form = replace(form, channels_last=source.form.channels_last)
    if head.size is None or (source is None and scores is None):
        picked = next((output for output in head.outputs if output.holds == "picked"), None)
        if picked is not None and len(head.outputs) == len([o for o in head.outputs if o.holds == "picked"]):
            return UnusedOutput(tip, OutputFault.PICKED, head.evidence.source or "a choice")
        return UnusedOutput(tip, OutputFault.ROUNDED, "them")
    return HeadSpec(
        name=head.name,
        kind=head.kind,
        size=head.size,
        logits=None if source is None else source.name,
        scores=None if scores is None else scores.name,
        score_form=form,
        box=BoxSpec() if head.kind == "box" else None,
        map_size_hw=head.map_size_hw,
        sigmoid=head.sigmoid,
        evidence=head.evidence,
    )


def _is_source(end: GraphEnd, head: FoundHead, name: str) -> bool:
    """Whether an output holds, as floats, what is differentiated.

    Logits that are divided by a temperature before their Softmax are not its source, though they say the same. A
    normalised embedding has the cosine of the embedding itself.
    """
    if end.value(name).dtype in SMALLEST_INTEGER:
        return False
    return head.kind == "embedding" or head.source in (name, follow(end, end.value(name)).source)


def _score_form(end: GraphEnd, head: FoundHead, name: str, form: ScoreForm) -> ScoreForm | None:
    """How the scores are stored; None for integers whose meaning is not known.

    Integer classes are read by their sum, in whatever steps they are stored.
    """
    dtype = end.value(name).dtype
    if dtype not in SMALLEST_INTEGER or (head.kind == "classes" and not form.log):
        return form
    step = _step(end, name, SMALLEST_INTEGER[dtype])
    return None if step is None or form.log else replace(form, factor=form.factor / step)


def _step(end: GraphEnd, name: str, smallest: int) -> float | None:
    """The step of an output of integers whose smallest value means 0; None if it is stored in another way."""
    node: EndNode | None = end.producers.get(name)
    while node is not None and node.operator in _MOVED:
        node = end.producers.get(node.inputs[0])
    place = -1 if node is None else _SCALES.get(node.operator, -1)
    if node is None or place < 0 or len(node.inputs) <= place:
        return None
    scale = end.constants.get(node.inputs[place])
    zero = end.constants.get(node.inputs[place + 1]) if len(node.inputs) > place + 1 else None
    if scale is None or scale.size != 1 or (0 if zero is None else int(zero.ravel()[0])) != smallest:
        return None
    return float(scale.ravel()[0])
