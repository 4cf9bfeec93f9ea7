"""Asking whether a method takes a target: the answer of a call, without a run of the model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import METHODS, RISE, build
from onnxplain.explanations.questions import plan_questions
from onnxplain.runtime import Engine
from tests.explainers.tiny_model import CLASSES, make_tiny_model

FEW = {
    "rise": {"masks": 4},
    "augmented-grad-cam": {"copies": 3},
    "smooth-grad-cam++": {"samples": 2},
    "occlusion": {"window": 0.5},
    "aise": {"evaluations": 31},
    "integrated-gradients": {"steps": 2},
    **{name: {"samples": 2} for name in ("smooth-grad", "var-grad", "grad-shap")},
    **{name: {"players": "grid", "cells": 4, "evaluations": 16} for name in ("shap", "lime", "sobol", "hsic")},
}
TARGETS = [
    None,
    -1,
    0,
    CLASSES - 1,
    CLASSES,
    CLASSES + 3,
    CLASSES + 4,
    -2,
    "cat",
    "cow",
    "2",
    "9",
    "box:0",
    "box:4",
    1.5,
]
CLASS_ALONE = {
    "cam",
    "finer-cam",
    "score-cam",
    "recipro-cam",
    "rise",
    "occlusion",
    "shap",
    "lime",
    "sobol",
    "hsic",
    "aise",
}
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["classifier", "localizer"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder: Path = tmp_path_factory.mktemp("accepts")
    return make_tiny_model(folder / "model.onnx", box=request.param == "localizer", pixels=True).engine


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every run of any session of ONNX Runtime."""
    seen: list[str] = []

    def counting(run: Callable[..., Any]) -> Callable[..., Any]:
        def count(self: object, *arguments: Any, **options: Any) -> Any:
            seen.append(run.__name__)
            return run(self, *arguments, **options)

        return count

    for name in ("run", "run_with_iobinding"):
        whole = getattr(onnxruntime.InferenceSession, name)
        monkeypatch.setattr(onnxruntime.InferenceSession, name, counting(whole))
    return seen


@pytest.mark.parametrize("target", TARGETS, ids=repr)
@pytest.mark.parametrize("name", METHODS)
def test_the_answer_is_that_of_a_call_and_costs_no_run(engine: Engine, runs: list[str], name: str, target) -> None:
    explainer = build(name, engine, **FEW.get(name, {}))
    runs.clear()
    accepted = explainer.accepts(target)
    assert not runs
    if accepted:
        explainer.check_target(target)
        assert not runs
        explainer(IMAGE, target)
        assert runs
        return
    with pytest.raises(OnnxplainError) as called:
        explainer(IMAGE, target)
    with pytest.raises(type(called.value), match=f"^{re.escape(str(called.value))}$"):
        explainer.check_target(target)


@pytest.mark.parametrize("name", METHODS)
def test_who_takes_box_coordinates(engine: Engine, name: str) -> None:
    explainer = build(name, engine)
    takes = engine.spec.box is not None and name not in CLASS_ALONE
    assert explainer.accepts("box:0") == explainer.accepts(CLASSES) == takes
    assert explainer.accepts("cat")
    if engine.spec.box is not None and not takes:
        with pytest.raises(UnsupportedError, match=f"^{name}: found target box:0, expected a class.*use grad-cam$"):
            explainer.check_target("box:0")


def test_a_callable_is_not_asked_for_its_scores() -> None:
    def scores(batch: np.ndarray) -> np.ndarray:
        raise AssertionError("called")

    explainer = RISE(scores, (12, 16))
    assert explainer.accepts(7)
    assert not explainer.accepts("cat")


def test_questions_of_box_coordinates_run_nothing(tmp_path: Path, runs: list[str]) -> None:
    engine = make_tiny_model(tmp_path / "model.onnx", box=True, pixels=True).engine
    takes = [name for name in METHODS if name not in CLASS_ALONE]
    runs.clear()
    assert len(plan_questions(engine, takes, ["box:0", "cat"], {})) == 2 * len(takes)
    with pytest.raises(UnsupportedError, match=r"^rise: found target box:0, expected a class"):
        plan_questions(engine, [*takes, "rise"], ["box:0"], {})
    assert not runs
