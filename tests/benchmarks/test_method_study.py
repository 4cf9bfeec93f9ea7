"""The study of all methods: its rows, its budgets, its numbers against answers that are known, and its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.results import append_case, read_results
from benchmarks.studies.methods import plan, run
from benchmarks.studies.methods.blind import BLIND
from benchmarks.studies.methods.page import write_results
from benchmarks.studies.methods.plan import STAGES, Stage, Unit, units_of
from benchmarks.studies.methods.statistics import difference, max_box_accuracy, mean_of, mean_ranks
from benchmarks.studies.methods.study_results import CURVES, StudyResults
from benchmarks.studies.methods.ways import FOLLOWING, VARIANTS, Way, all_ways, explain_within, prepare
from onnxplain import Engine
from onnxplain.demo import MODEL
from onnxplain.evaluation.metrics.statistic import pack_bits
from onnxplain.explainers import METHODS
from onnxplain.explainers.levels import LEVELS
from onnxplain.explainers.registry import supported

WAYS = list(all_ways())
PHOTO = np.random.default_rng(3).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(MODEL, threads=1)


def test_every_method_of_the_table_is_a_row() -> None:
    assert [way.name for way in WAYS if way not in VARIANTS] == list(METHODS.own)
    names = [way.name for way in WAYS] + list(BLIND)
    assert len(set(names)) == len(names)
    assert {each.method for each in VARIANTS} <= set(METHODS.own)


@pytest.mark.parametrize("model", ["mobilenet", "squeezenet", "vit"])
def test_every_row_is_measured_on_every_model_at_every_budget(model: str) -> None:
    planned = {
        (unit.way, unit.budget)
        for stage in STAGES
        if (stage.kind, stage.model, stage.questions) == ("map", model, "photos")
        for unit in units_of(stage, WAYS)
    }
    wanted = {(way.name, budget) for way in WAYS for budget in way.budgets if not plan.is_costly(model, way, budget)}
    assert {(way.name, plan.main_budget(way)) for way in WAYS} <= wanted
    assert planned == wanted | {(name, None) for name in BLIND}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_no_row_uses_more_than_its_budget(way: Way, engine: Engine) -> None:
    if way.method not in supported(engine):
        pytest.skip("needs a layer or a tail file that the shipped file does not have")
    # The largest budget takes seconds to prepare for Augmented Grad-CAM.
    for budget in way.budgets[:2]:
        if budget is None:
            assert prepare(way, engine, None).passes is not None
            continue
        name, values = FOLLOWING.get(way.method, ("", ()))
        least = {name: values[-1]} if values else {}
        passes = prepare(way, engine, budget, **least).passes
        assert passes is not None and passes.evaluations <= budget


@pytest.mark.parametrize("name", ["occlusion", "sobol", "smooth-grad-cam++"])
def test_a_small_budget_is_kept_by_fewer_cells_or_larger_steps(name: str, engine: Engine) -> None:
    found, more = explain_within(Way(name, name), engine, 100, PHOTO, 3)
    assert 50 < found.evaluations <= 100
    assert bool(more) == (name != "smooth-grad-cam++")


@pytest.mark.parametrize("name", BLIND)
def test_a_blind_map_is_a_heatmap_and_the_same_each_time(name: str) -> None:
    heatmap = BLIND[name](PHOTO, 7)
    assert heatmap.shape == PHOTO.shape[:2] and heatmap.dtype == np.float32
    assert 0 <= heatmap.min() < heatmap.max() <= 1
    np.testing.assert_array_equal(heatmap, BLIND[name](PHOTO, 7))


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    drawn = np.random.default_rng(0).normal(2, 1, 400)
    found = mean_of({str(number): value for number, value in enumerate(drawn)})
    half = 1.96 * drawn.std() / np.sqrt(len(drawn))
    assert found.value == pytest.approx(drawn.mean())
    assert found.low == pytest.approx(drawn.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(drawn.mean() + half, abs=0.15 * half)


def test_a_difference_is_that_of_the_shared_images() -> None:
    found = difference({"a": 1.0, "b": 5.0, "c": 9.0}, {"b": 4.0, "a": 0.0, "d": 7.0})
    assert (found.value, found.low, found.high, found.count) == (1, 1, 1, 2)


def test_max_box_accuracy_is_the_share_at_the_one_best_level() -> None:
    hits = {"a": slice(0, 10), "b": slice(5, 20), "c": slice(100, 200), "d": slice(0, 0)}
    packed = {name: pack_bits(np.isin(np.arange(LEVELS), np.arange(LEVELS)[where])) for name, where in hits.items()}
    assert max_box_accuracy(packed).value == 0.5


def test_ranks_are_means_over_the_columns_that_have_the_row() -> None:
    columns = {"x": {"a": 3.0, "b": 1.0, "c": 2.0}, "y": {"a": 1.0, "b": 2.0}}
    assert mean_ranks(columns) == {"a": 0.5, "b": 0.5, "c": 0.5}


def test_a_second_run_measures_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    class Fake(run.Bench):
        questions: Mapping[str, list[Any]] = {"photos": [None] * 2, "mosaics": []}

        def measure(self, unit: Unit, way: Way | None) -> dict[str, Any]:
            measured.append(unit.way)
            return {"image": str(unit.number)}

    monkeypatch.setattr(run, "Bench", Fake)
    monkeypatch.setattr(run, "STAGES", (Stage("map", "mobilenet", "photos", 5, (None, 400)),))
    results = tmp_path / "results.jsonl"
    saliency, rise = (next(way for way in WAYS if way.name == name) for name in ("saliency", "rise"))
    assert run.run_study([saliency], results, ["mobilenet"], 1)
    assert measured == ["saliency", *BLIND] * 2
    assert run.run_study([saliency, rise], results, ["mobilenet"], 1)
    assert measured[12:] == ["rise", "rise"]
    assert not run.run_study([saliency, Way("new", "rise")], results, ["mobilenet"], 0)
    assert len(read_results(results)) == 14


def test_the_page_has_every_row_and_says_what_was_refused(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    ways = {way.name: way for way in WAYS}
    for number in range(4):
        for name in (*ways, *BLIND):
            for budget in ways[name].budgets if name in ways else (None,):
                unit = asdict(Unit("map", "mobilenet", "photos", number, name, budget))
                curves = {field: 0.1 * number if field.startswith("deletion") else 0.5 for field in CURVES}
                boxes = {"pointing": True, "energy": 0.5, "hits": pack_bits(np.ones(LEVELS, bool))}
                cost = {"evaluations": budget or 1, "seconds": 0.2, "forward_seconds": 0.01}
                append_case(results, [{**unit, "image": f"{number}.png", **curves, **boxes, **cost}])
    refused = Unit("shuffled", "mobilenet", "photos", 0, "rise", 400)
    append_case(results, [{**asdict(refused), "image": "0.png", "refused": "a reason"}])
    page = write_results(StudyResults.read(results))
    for name in (*METHODS.own, *BLIND):
        assert page.count(f"| `{name}` |" if name in ways else f"| {name} |") >= 3
    assert "| `rise` | MobileNetV1 0.25 | a reason |" in page
    # The mean of 0.5 − 0, 0.5 − 0.1, 0.5 − 0.2 and 0.5 − 0.3
    assert "0.35 [" in page and "| 100 [100, 100] | 50 [50, 50] | 100 [100, 100] |" in page
    assert "MobileNetV1 0.25: 100 | MobileNetV1 0.25: 1,600" in page
