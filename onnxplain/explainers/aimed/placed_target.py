"""A target of one image: the number that is explained, as a sum of entries of a head, and what these entries need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from onnxplain.contract import PREDICTED, HeadSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.head_scores import head_output, head_scores

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine


class ReadHead(Protocol):
    """A function from a head's output to one column per entry: `head_scores` or `head_scalars`."""

    def __call__(
        self, head: HeadSpec, output: AnyArray, reference: FloatArray | None = None, region: FloatArray | None = None
    ) -> FloatArray:
        """Columns, float32 (N, entries)."""


@dataclass(frozen=True, eq=False)
class PlacedTarget:
    """The number ``sign · (y_index − y_against)`` of one image; without `against` it is ``sign · y_index``.

    `index`, `against`: targets of the model's numbering; index −1, the default head's best entry, until the model has
    run. `head`: the head of both. `first`: the target of the head's first entry. `reference`: float32 (1, D), the
    vector that an embedding is compared with. `region`: float32 (1, 1, h, w), the weights of a mask's cells; None: all
    alike. `place`: the reference or the region, in words.
    """

    index: int
    head: HeadSpec
    first: int = 0
    sign: int = 1
    against: int | None = None
    reference: FloatArray | None = None
    region: FloatArray | None = None
    place: str = ""

    @property
    def is_single(self) -> bool:
        """Whether it is one entry, neither negated nor compared with another."""
        return self.sign == 1 and self.against is None

    @property
    def entry(self) -> int:
        """The entry of the head."""
        return self.index - self.first

    @property
    def label(self) -> str:
        """The label of the entry; the head's name for the only entry of a head without labels."""
        if self.head.entries == 1 and not self.head.labels:
            return self.head.name
        return self.head.label(self.entry)

    def settle(self, index: int) -> PlacedTarget:
        """The same with the index that the run has shown. Raises OnnxplainError if it is compared with itself."""
        if index == self.against:
            raise OnnxplainError(
                f"against: found {self.head.label(index - self.first)}, which is the predicted entry itself, expected "
                "another one"
            )
        return replace(self, index=index)

    def of(self, columns: FloatArray) -> FloatArray:
        """The number from columns with one entry of the head each, (…, entries) → (…)."""
        values: FloatArray = columns[..., self.entry]
        if self.against is not None:
            values = values - columns[..., self.against - self.first]
        return values if self.sign > 0 else -values

    def name_of(self, entry_name: str, against_name: str) -> str:
        """What is explained, in words, from the names of its entries."""
        words = " ".join(part for part in (entry_name, self.place) if part)
        words = words if self.against is None else f"{words} rather than {against_name}"
        return words if self.sign > 0 else f"not {words}"


def explained_columns(
    placed: Sequence[PlacedTarget], outputs: Mapping[str, AnyArray], read: ReadHead = head_scores
) -> FloatArray:
    """The explained number of each target, float32 (N, T), from the output of each head by the head's name.

    `read`: `head_scores`, what is shown and watched, or `head_scalars`, what is differentiated.
    """
    found: dict[tuple[str, int, int], FloatArray] = {}
    columns = []
    for each in placed:
        key = each.head.name, id(each.reference), id(each.region)
        if key not in found:
            found[key] = read(each.head, outputs[each.head.name], each.reference, each.region)
        columns.append(each.of(found[key]))
    return np.stack(columns, axis=1)


def heads_of(placed: Sequence[PlacedTarget]) -> list[HeadSpec]:
    """The heads of the targets, each once."""
    return list({each.head.name: each.head for each in placed}.values())


def run_columns(engine: Engine, placed: Sequence[PlacedTarget], batch_nchw: FloatArray) -> FloatArray:
    """The shown score of each target, float32 (N, T), for a batch from `Engine.preprocess`."""
    heads = heads_of(placed)
    outputs = engine.run(batch_nchw, [head_output(head) for head in heads])
    return explained_columns(placed, {head.name: output for head, output in zip(heads, outputs, strict=True)})


def is_settled(placed: PlacedTarget) -> bool:
    """Whether its entry is known."""
    return placed.index != PREDICTED
