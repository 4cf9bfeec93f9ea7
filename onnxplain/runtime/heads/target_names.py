"""The names of targets, and what a target may be, in words."""

from __future__ import annotations

from onnxplain.contract import BOX_COORDINATES, ModelSpec
from onnxplain.errors import OnnxplainError

BOX_PREFIX = "box:"


def target_count(spec: ModelSpec) -> int:
    """Number of scalars that can be explained: the entries of all heads."""
    return spec.numbering.count


def target_name(spec: ModelSpec, index: int) -> str:
    """The display name of a target.

    An entry of the default head has its label (its index without labels), a box ``box:0`` … ``box:3``, an entry of
    another head ``HEAD:LABEL``, the only entry of a head the head's name.
    """
    if not 0 <= index < target_count(spec):
        raise OnnxplainError(f"target: found {index}, expected {describe_targets(spec)}")
    entry = spec.numbering.entry(index)
    head = entry.head
    if head.kind == "box":
        return f"{BOX_PREFIX if head is spec.box_head else head.name + ':'}{entry.index}"
    if head is spec.head and (head.labels or (head.kind in ("classes", "labels", "mask") and head.entries > 1)):
        return head.label(entry.index)
    return head.name if head.entries == 1 and not head.labels else f"{head.name}:{head.label(entry.index)}"


def describe_targets(spec: ModelSpec) -> str:
    """What a target may be, in words."""
    head = spec.head
    words = ["a label"] if any(each.labels for each in spec.heads) else []
    if head.kind == "classes":
        words.append(f"a class index from 0 to {head.entries - 1}")
    else:
        words.append(f"an index from 0 to {target_count(spec) - 1}")
    words += [f"{BOX_PREFIX}0 … {BOX_PREFIX}{BOX_COORDINATES - 1}"] if spec.box_head is not None else []
    others = [each.name for each in spec.heads if each is not head and each.kind != "box"]
    words += [f"HEAD:LABEL with one of the heads {', '.join([head.name, *others])}"] if others else []
    best = {"classes": "class", "labels": "label", "mask": "class"}.get(head.kind)
    return ", ".join(words) + (f", or -1 for the predicted {best}" if best else "")
