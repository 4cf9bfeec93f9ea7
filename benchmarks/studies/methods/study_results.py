"""The lines of the results file, by what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.results import Row, read_results
from benchmarks.studies.methods.blind import BLIND
from benchmarks.studies.methods.models import MODELS, StudyModel
from benchmarks.studies.methods.plan import main_budget
from benchmarks.studies.methods.ways import Way, all_ways
from onnxplain.explainers import METHODS

CURVES = ("insertion_mean", "insertion_blur", "deletion_mean", "deletion_blur")
# Whose difference to the others is tested: the default method of classifiers.
REFERENCE = "grad-cam"
# What a method reads, by the folder of its class.
FAMILIES = {
    "cam": "feature maps",
    "augmented": "feature maps",
    "hiding": "hidden parts",
    "rise": "hidden parts",
    "pixels": "gradients at pixels",
}
# The row of an image that is measured last.
LAST = list(BLIND)[-1]
OTHER_FAMILY, BLIND_FAMILY = "attention", "no model"


@dataclass(frozen=True, eq=False)
class StudyResults:
    """All results; a line of the same unit replaces an older one."""

    rows: Sequence[Row]

    @classmethod
    def read(cls, path: Path) -> StudyResults:
        return cls(read_results(path))

    @cached_property
    def ways(self) -> dict[str, Way]:
        return {way.name: way for way in all_ways()}

    @property
    def names(self) -> list[str]:
        """All rows of the tables: the ways, then the blind maps."""
        return [*self.ways, *BLIND]

    @property
    def models(self) -> list[StudyModel]:
        """Those that were measured."""
        found = {row["model"] for row in self.rows}
        return [model for model in MODELS if model.name in found]

    def family(self, name: str) -> str:
        """What the method reads."""
        if name in BLIND:
            return BLIND_FAMILY
        folder = METHODS[self.ways[name].method].location.partition(":")[0].split(".")[2]
        return FAMILIES.get(folder, OTHER_FAMILY)

    def budgets(self, name: str) -> tuple[int | None, ...]:
        return (None,) if name in BLIND else self.ways[name].budgets

    def budget(self, name: str) -> int | None:
        """That of the main tables."""
        return None if name in BLIND else main_budget(self.ways[name])

    def of(self, kind: str, model: str, name: str, budget: int | None, questions: str = "photos") -> Iterator[Row]:
        """The measured lines of one cell; without refusals, and without images whose rows are not all there yet."""
        whole = self._by_cell.get(("map", model, LAST, None, questions), {})
        chosen = self._by_cell.get((kind, model, name, budget, questions), {})
        yield from (row for number, row in chosen.items() if number in whole and "refused" not in row)

    def values(self, kind: str, model: str, name: str, budget: int | None, field: str) -> dict[str, Any]:
        """A field by image, of the photos that have it."""
        return {row["image"]: row[field] for row in self.of(kind, model, name, budget) if field in row}

    def boxes(self, model: str, name: str, field: str) -> dict[str, Any]:
        """A field by image, of all photos and mosaics with boxes, at the main budget."""
        budget = self.budget(name)
        rows = [row for part in ("photos", "mosaics") for row in self.of("map", model, name, budget, part)]
        return {row["image"]: row[field] for row in rows if field in row}

    def gains(self, model: str, name: str) -> dict[str, float]:
        """Insertion minus deletion at the main budget, the mean over both fills, by image."""
        return self.gains_at(model, name, self.budget(name))

    def gains_at(self, model: str, name: str, budget: int | None) -> dict[str, float]:
        """The same at any budget."""
        return {row["image"]: gain_of(row) for row in self.of("map", model, name, budget) if CURVES[0] in row}

    @cached_property
    def _by_cell(self) -> dict[tuple[Any, ...], dict[int, Row]]:
        cells: dict[tuple[Any, ...], dict[int, Row]] = {}
        for row in self.rows:
            key = tuple(row[name] for name in ("kind", "model", "way", "budget", "questions"))
            cells.setdefault(key, {})[row["number"]] = row
        return cells


def gain_of(row: Row) -> float:
    """The areas of a line: (insertion − deletion), the mean over both fills."""
    return sum(row[name] if name.startswith("insertion") else -row[name] for name in CURVES) / 2
