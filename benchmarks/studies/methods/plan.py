"""What is measured, the most important first: a run that is stopped leaves whole tables of fewer photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.studies.methods.blind import BLIND
from benchmarks.studies.methods.ways import BUDGETS, Way
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


OWN_AND_400: tuple[int | None, ...] = (None, 400)
# In rounds, so that every stop leaves all models and kinds with about as many photos.
STAGES = (
    Stage("map", "mobilenet", "photos", 6, OWN_AND_400),
    Stage("map", "vit", "photos", 6, OWN_AND_400),
    Stage("shuffled", "mobilenet", "photos", 3, OWN_AND_400),
    Stage("shuffled", "vit", "photos", 3, OWN_AND_400),
    Stage("seed", "mobilenet", "photos", 3, (400,)),
    Stage("seed", "vit", "photos", 3, (400,)),
    Stage("map", "mobilenet", "photos", 6, (100,)),
    Stage("map", "vit", "photos", 6, (100,)),
    Stage("map", "squeezenet", "photos", 3, OWN_AND_400),
    Stage("map", "mobilenet", "photos", 10, OWN_AND_400),
    Stage("map", "vit", "photos", 10, OWN_AND_400),
    Stage("map", "mobilenet", "photos", 4, (1600,)),
    Stage("map", "vit", "photos", 4, (1600,)),
    Stage("map", "mobilenet", "mosaics", 8, OWN_AND_400),
    Stage("limit", "mobilenet", "photos", 2, BUDGETS),
    Stage("map", "squeezenet", "photos", 5, OWN_AND_400),
    Stage("map", "squeezenet", "photos", 3, (100,)),
    Stage("shuffled", "squeezenet", "photos", 2, OWN_AND_400),
    Stage("seed", "squeezenet", "photos", 2, (400,)),
    Stage("limit", "vit", "photos", 2, BUDGETS),
    Stage("map", "mobilenet", "mosaics", 16, OWN_AND_400),
    Stage("map", "mobilenet", "photos", 10, (100, 1600)),
    Stage("map", "vit", "photos", 10, (100, 1600)),
    Stage("map", "vit", "photos", 20, OWN_AND_400),
    Stage("map", "squeezenet", "photos", 10, OWN_AND_400),
    Stage("map", "squeezenet", "photos", 10, (100,)),
    Stage("map", "squeezenet", "mosaics", 16, OWN_AND_400),
    Stage("map", "squeezenet", "photos", 10, (1600,)),
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
    """The stage's budgets that this way can use, and that are not left out."""
    if stage.kind == "limit":
        return (way.limit,) if way.samples and not is_costly(stage.model, way, way.limit) else ()
    if stage.kind == "seed" and not way.samples:
        return ()
    budgets = (budget for budget in stage.budgets if budget in way.budgets)
    return tuple(budget for budget in budgets if not is_costly(stage.model, way, budget))


def is_costly(model: str, way: Way, budget: int | None) -> bool:
    """Whether a unit is left out: a gradient at the pixels of SqueezeNet costs three forward passes."""
    if model != "squeezenet" or budget is None or budget <= 100:
        return False
    return METHODS[way.method].needs is INPUT_GRADIENT or way.method == "augmented-grad-cam"
