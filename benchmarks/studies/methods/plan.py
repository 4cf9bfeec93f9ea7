"""What is measured, the most important first: a run that is stopped leaves whole tables of fewer photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.studies.methods.blind import BLIND
from benchmarks.studies.methods.ways import BUDGETS, MAIN, Way
from onnxplain.explainers import METHODS
from onnxplain.explainers.needs import INPUT_GRADIENT

Kind = Literal["map", "seed", "shuffled", "limit"]
"""A map with its measures; its likeness to that of another seed, of shuffled weights, of many evaluations."""
Questions = Literal["photos", "mosaics"]


@dataclass(frozen=True)
class Stage:
    """Units of one kind: the first `count` questions, at these budgets. None: the method's own number."""

    kind: Kind
    model: str
    questions: Questions
    count: int
    budgets: tuple[int | None, ...]


@dataclass(frozen=True)
class Unit:
    """One line of results. `way` is the name of a `Way`, or of a blind map."""

    kind: Kind
    model: str
    questions: Questions
    number: int
    way: str
    budget: int | None


OWN_AND_MAIN: tuple[int | None, ...] = (None, MAIN)
# In rounds, so that every stop leaves all models and kinds with about as many photos.
STAGES = (
    Stage("map", "mobilenet", "photos", 6, OWN_AND_MAIN),
    Stage("map", "vit", "photos", 6, OWN_AND_MAIN),
    Stage("shuffled", "mobilenet", "photos", 3, OWN_AND_MAIN),
    Stage("shuffled", "vit", "photos", 3, OWN_AND_MAIN),
    Stage("seed", "mobilenet", "photos", 3, (MAIN,)),
    Stage("seed", "vit", "photos", 3, (MAIN,)),
    Stage("map", "mobilenet", "photos", 6, (100,)),
    Stage("map", "vit", "photos", 6, (100,)),
    Stage("map", "squeezenet", "photos", 3, OWN_AND_MAIN),
    Stage("map", "mobilenet", "photos", 10, OWN_AND_MAIN),
    Stage("map", "vit", "photos", 10, OWN_AND_MAIN),
    Stage("map", "mobilenet", "photos", 3, (1600,)),
    Stage("map", "vit", "photos", 2, (1600,)),
    Stage("map", "squeezenet", "photos", 6, OWN_AND_MAIN),
    Stage("map", "mobilenet", "mosaics", 8, OWN_AND_MAIN),
    Stage("map", "vit", "photos", 3, (1600,)),
    Stage("limit", "mobilenet", "photos", 2, BUDGETS),
    Stage("limit", "vit", "photos", 2, BUDGETS),
    Stage("map", "squeezenet", "photos", 3, (100,)),
    Stage("shuffled", "squeezenet", "photos", 2, OWN_AND_MAIN),
    Stage("seed", "squeezenet", "photos", 2, (MAIN,)),
    Stage("map", "squeezenet", "photos", 10, OWN_AND_MAIN),
    Stage("map", "mobilenet", "mosaics", 16, OWN_AND_MAIN),
    Stage("map", "mobilenet", "photos", 10, (100, 1600)),
    Stage("map", "vit", "photos", 10, (100, 1600)),
    Stage("map", "vit", "photos", 20, OWN_AND_MAIN),
    Stage("map", "squeezenet", "photos", 10, (100,)),
    Stage("map", "squeezenet", "mosaics", 16, OWN_AND_MAIN),
    Stage("shuffled", "mobilenet", "photos", 10, OWN_AND_MAIN),
    Stage("shuffled", "vit", "photos", 10, OWN_AND_MAIN),
    Stage("seed", "mobilenet", "photos", 10, (MAIN,)),
    Stage("seed", "vit", "photos", 10, (MAIN,)),
    Stage("shuffled", "squeezenet", "photos", 6, OWN_AND_MAIN),
    Stage("seed", "squeezenet", "photos", 4, (MAIN,)),
    Stage("limit", "squeezenet", "photos", 1, BUDGETS),
    Stage("map", "squeezenet", "photos", 10, (1600,)),
    Stage("shuffled", "squeezenet", "photos", 10, OWN_AND_MAIN),
    Stage("seed", "squeezenet", "photos", 10, (MAIN,)),
    Stage("limit", "squeezenet", "photos", 2, BUDGETS),
    Stage("limit", "mobilenet", "photos", 4, BUDGETS),
    Stage("limit", "vit", "photos", 4, BUDGETS),
)


def units_of(stage: Stage, ways: Sequence[Way]) -> Iterator[Unit]:
    """The units of a stage, all ways of a question together."""
    for number in range(stage.count):
        for way in ways:
            for budget in asked_budgets(stage, way):
                yield Unit(stage.kind, stage.model, stage.questions, number, way.name, budget)
        if stage.kind == "map" and None in stage.budgets:
            for name in BLIND:
                yield Unit(stage.kind, stage.model, stage.questions, number, name, None)


def asked_budgets(stage: Stage, way: Way) -> tuple[int | None, ...]:
    """The stage's budgets that this way can use."""
    if stage.kind == "limit":
        return (way.limit,) if way.samples and not is_costly(stage.model, way, way.limit) else ()
    if stage.kind == "seed" and not way.samples:
        return ()
    return tuple(each for each in stage.budgets if each in way.budgets and not is_costly(stage.model, way, each))


def main_budget(way: Way) -> int | None:
    """The budget of the main tables: 400, or the method's own number."""
    return MAIN if MAIN in way.budgets else None


def is_costly(model: str, way: Way, budget: int | None) -> bool:
    """Whether a unit is left out: a gradient at the pixels of SqueezeNet costs three forward passes."""
    if model != "squeezenet" or budget is None or budget <= MAIN:
        return False
    return METHODS[way.method].needs is INPUT_GRADIENT or way.method == "augmented-grad-cam"
