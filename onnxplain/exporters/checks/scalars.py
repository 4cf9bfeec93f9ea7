"""The scalars that the checks differentiate: a few entries of every head, with the references and regions they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from onnxplain.contract import BOX_COORDINATES, REFERENCE_INPUT, REGION_INPUT, HeadSpec, ModelSpec

SEED = 16
# Of the positions of a mask, the share in a random region.
REGION_SHARE = 0.3


class KindOfHead(Protocol):
    """A value that a witness returns."""

    @property
    def kind(self) -> str:
        """The kind of its head."""

    @property
    def output(self) -> str:
        """Its name in the graph."""


class Differentiated(Protocol):
    """A number that is differentiated in a check."""

    @property
    def target(self) -> int:
        """Its number as a target."""

    def read(self, heads: Sequence[KindOfHead], values: Sequence[np.ndarray]) -> np.ndarray:
        """y of each image, [N], from what a witness returns for each head."""


AnyScalar = TypeVar("AnyScalar", bound=Differentiated)


@dataclass(frozen=True, eq=False)
class CheckedScalar:
    """One scalar of a model: entry `index` of head number `head`, as target number `target`.

    `reference` is float32 [1, D], `region` float32 [1, 1, h, w].
    """

    head: int
    index: int
    target: int
    reference: np.ndarray | None = None
    region: np.ndarray | None = None

    def read(self, heads: Sequence[KindOfHead], values: Sequence[np.ndarray]) -> np.ndarray:
        """y of each image, [N], from what a witness returns for each head."""
        return scalar_in(self, values[self.head], heads[self.head].kind)


def checked_scalars(spec: ModelSpec) -> tuple[CheckedScalar, ...]:
    """Of each head the first and the last entry, of a box all; of a mask also one over a random region."""
    rng = np.random.default_rng(SEED)
    asked: list[CheckedScalar] = []
    for number, (head, start) in enumerate(zip(spec.heads, spec.numbering.starts, strict=False)):
        chosen = range(BOX_COORDINATES) if head.kind == "box" else sorted({0, head.entries - 1})
        each = [CheckedScalar(number, index, start + index) for index in chosen]
        if head.kind == "embedding":
            each = [replace(one, reference=rng.normal(size=(1, head.size)).astype(np.float32)) for one in each]
        if head.map_size_hw is not None:
            whole = np.ones((1, 1, *head.map_size_hw), np.float32)
            part = (rng.random(whole.shape) < REGION_SHARE).astype(np.float32)
            part[..., 0, 0] = 1
            each = [replace(one, region=whole) for one in each] + [replace(each[0], region=part)]
        asked += each
    return tuple(asked)


def pairs_of(scalars: Sequence[CheckedScalar]) -> tuple[tuple[CheckedScalar, CheckedScalar], ...]:
    """Per head with several entries the first two scalars, which differ in their entry alone."""
    firsts = {scalar.head: scalar for scalar in reversed(scalars)}
    pairs = []
    for head, first in sorted(firsts.items()):
        other = next((each for each in scalars if each.head == head and each.index != first.index), None)
        if other is not None:
            pairs.append((first, other))
    return tuple(pairs)


def control_feeds(heads: Sequence[HeadSpec], scalar: CheckedScalar | None = None) -> dict[str, np.ndarray]:
    """The inputs ``reference`` and ``region`` where the heads need them; their defaults where nothing is asked."""
    feeds: dict[str, np.ndarray] = {}
    for head in heads:
        if head.kind == "embedding":
            feeds[REFERENCE_INPUT] = np.zeros((1, head.size), np.float32)
        if head.kind == "mask":
            feeds[REGION_INPUT] = np.ones((1, 1, 1, 1), np.float32)
    if scalar is not None and scalar.reference is not None:
        feeds[REFERENCE_INPUT] = scalar.reference
    if scalar is not None and scalar.region is not None:
        feeds[REGION_INPUT] = scalar.region
    return feeds


def scalar_in(scalar: CheckedScalar, head_value: np.ndarray, kind: str) -> np.ndarray:
    """y of each image, [N], from the head's value: [N, size], or [N, C, h, w] for a mask."""
    if kind == "embedding":
        assert scalar.reference is not None
        reference = scalar.reference[0].astype(head_value.dtype)
        return np.asarray(head_value @ reference / np.linalg.norm(head_value, axis=1) / np.linalg.norm(reference))
    if kind == "mask":
        assert scalar.region is not None
        weights = scalar.region[:, 0].astype(head_value.dtype)
        return np.asarray((head_value[:, scalar.index] * weights).sum((1, 2)) / weights.sum())
    return np.asarray(head_value[:, scalar.index])
