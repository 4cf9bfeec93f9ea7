"""What the user states about the heads of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from onnxplain.contract.heads.found import StatedHead
from onnxplain.contract.heads.spec import HeadKind, HeadSpec
from onnxplain.errors import OnnxplainError

GivenHeads = Sequence[StatedHead | str]
"""Heads that the user states: as ``"NAME"``, as ``"NAME:KIND"``, or as `StatedHead`."""

GivenLabels = Sequence[str] | Mapping[str, Sequence[str]]
"""Labels of the default head, or labels by the name of a head."""


def read_stated(given: StatedHead | str) -> StatedHead:
    """``NAME``, ``NAME:KIND`` or ``NAME:none``; names of outputs may contain colons themselves."""
    if isinstance(given, StatedHead):
        return given
    name, _, word = given.rpartition(":")
    kinds: dict[str, HeadKind | Literal["none"]] = {"none": "none", **{kind: kind for kind in get_args(HeadKind)}}
    if name and word in kinds:
        return StatedHead(name, kinds[word])
    return StatedHead(given)


def stated_default(stated: Sequence[StatedHead]) -> str | None:
    """The head that the user wants explained if no other is named: the first without a kind, else the first of classes.

    None: the user names none, `default_head` decides.
    """
    names = [head.name for head in stated if head.kind is None]
    names += [head.name for head in stated if head.kind == "classes"]
    return names[0] if names else None


def labels_by_head(given: GivenLabels | None, heads: Sequence[HeadSpec]) -> dict[str, tuple[str, ...]]:
    """The stated labels by the name of their head. `heads`: those of the model, the default head first.

    Raises OnnxplainError for a head that does not exist; `HeadSpec` checks their number.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        known = [head.name for head in heads]
        unknown = [name for name in given if name not in known]
        if unknown:
            raise OnnxplainError(f"labels: found no head {', '.join(unknown)}, expected one of {', '.join(known)}")
        return {name: tuple(labels) for name, labels in given.items()}
    return {heads[0].name: tuple(given)}
