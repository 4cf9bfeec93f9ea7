"""What is compared: every row of the method table, some of them with other options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from onnxplain import Engine
from onnxplain.errors import OnnxplainError
from onnxplain.explainers import METHODS, Explainer, Explanation, build

# MAIN is the budget of the main tables.
BUDGETS = (100, 400, 1600)
MAIN = 400
# Evaluations of a map that counts as a method's limit. The time of HSIC grows with the square, and Augmented Grad-CAM
# solves for all copies together.
LIMIT, LIMITS = 6400, {"hsic": 3200, "augmented-grad-cam": 3200}
# The option that sets the number of evaluations: the first of these that a method has.
BUDGET_OPTIONS = ("evaluations", "samples", "steps", "copies", "maps")
# Options that follow the budget, by method: the first of these values with which it is enough. Occlusion would not use
# a large budget with its usual stride; the other methods need fewer cells for a small one.
FOLLOWING: Mapping[str, tuple[str, Sequence[float]]] = {
    "occlusion": ("stride", [0.01 * 1.1**power for power in range(32)]),
    **{name: ("cells", [49, 44, 40, 36, 30, 25, 20, 16, 9]) for name in ("shap", "lime", "sobol", "hsic")},
}


@cache
def options_of(method: str) -> tuple[str, ...]:
    """The options of a method of the table."""
    return METHODS[method].options


@dataclass(frozen=True)
class Way:
    """A method with options: `name` is its label, unique in the study."""

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def budget_option(self) -> str | None:
        """The option that sets the number of evaluations; None for a method of fixed cost."""
        return next((each for each in BUDGET_OPTIONS if each in options_of(self.method)), None)

    @property
    def budgets(self) -> tuple[int | None, ...]:
        """The numbers of evaluations to try; None: the method's own."""
        return (None,) if self.budget_option is None else BUDGETS

    @property
    def samples(self) -> bool:
        """Whether the map depends on a seed."""
        return "seed" in options_of(self.method) and self.budget_option is not None

    @property
    def limit(self) -> int:
        """Evaluations of the map that counts as its limit."""
        return LIMITS.get(self.method, LIMIT)


VARIANTS = (
    Way("grad-cam (flips, scales)", "grad-cam", {"test_time": "flips,scales"}),
    Way("rise (paper)", "rise", {"estimator": "paper"}),
    Way("rise (log-linear)", "rise", {"estimator": "log-linear"}),
    Way("shap (grid)", "shap", {"players": "grid", "cells": 49}),
    Way("sobol (6 × 6)", "sobol", {"cells": 36}),
)


def all_ways() -> Iterator[Way]:
    """Every method of the package with its defaults, each followed by its variants."""
    for method in METHODS.own:
        yield Way(method, method)
        yield from (each for each in VARIANTS if each.method == method)


def prepare(way: Way, engine: Engine, budget: int | None, seed: int = 0, **more: Any) -> Explainer:
    """The explainer with at most `budget` evaluations. Raises OnnxplainError where the method needs more."""
    options = {**way.options, **more, **({"seed": seed} if "seed" in options_of(way.method) else {})}
    name = way.budget_option
    if budget is None or name is None:
        return build(way.method, engine, **options)
    if name == "evaluations":
        return build(way.method, engine, **options, evaluations=budget)
    # The others count what they repeat, and run the model a few times beside that.
    started = build(way.method, engine, **options, **{name: 10})
    return build(way.method, engine, **options, **{name: budget - (_evaluations(started) - 10)})


def explain_within(
    way: Way, engine: Engine, budget: int | None, image: Any, target: int, seed: int = 0
) -> tuple[Explanation, dict[str, float]]:
    """The explanation, and the option that followed the budget if it is not the method's usual one."""
    attempts = list(_attempts(way))
    for number, more in enumerate(attempts, start=1):
        try:
            return prepare(way, engine, budget, seed, **more)(image, target), more
        except OnnxplainError:
            if number == len(attempts):
                raise
    raise AssertionError("there is always an attempt")


def _attempts(way: Way) -> Iterator[dict[str, float]]:
    """The options to try: the method's own first, unless it would leave a large budget unused."""
    name, values = FOLLOWING.get(way.method, ("", ()))
    if name != "stride":
        yield {}
    yield from ({name: value} for value in values)


def _evaluations(explainer: Explainer) -> int:
    passes = explainer.passes
    if passes is None:
        raise OnnxplainError(f"{explainer.name}: found no count of passes, expected one: see Explainer.passes")
    return passes.evaluations
