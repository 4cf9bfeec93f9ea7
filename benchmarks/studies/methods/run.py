"""Measuring: one unit of work after the other, a line of results each; what is there already is not repeated."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Row, append_case, read_results
from benchmarks.studies.methods.blind import BLIND
from benchmarks.studies.methods.measures import StudyMap, correlation, likeness, measure_boxes, measure_curves
from benchmarks.studies.methods.models import FOLDER, MODELS, StudyModel, open_study_model
from benchmarks.studies.methods.plan import STAGES, Unit, units_of
from benchmarks.studies.methods.questions import Question, main_questions, mosaic_questions
from benchmarks.studies.methods.ways import BUDGETS, Way, explain_within
from onnxplain import Engine
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.sanity import rank_correlation
from onnxplain.explainers import METHODS
from onnxplain.explainers.registry import supported

MAPS = FOLDER / "maps"
FORWARD_RUNS = 5
OTHER_SEED, LIMIT_SEED = 1, 2**32


@dataclass(eq=False)
class Bench:
    """A model with its questions, opened when the first unit needs it."""

    model: StudyModel

    @cached_property
    def engines(self) -> tuple[Engine, Engine]:
        """The engine, and that of shuffled weights."""
        return open_study_model(self.model)

    @cached_property
    def questions(self) -> dict[str, list[Question]]:
        engine = self.engines[0]
        return {"photos": main_questions(self.model, engine), "mosaics": mosaic_questions(self.model, engine)}

    def measure(self, unit: Unit, way: Way | None) -> Row:
        """The results of one unit; without a way, of a blind map."""
        question = self.questions[unit.questions][unit.number]
        about = {"image": question.name, "target": question.target}
        if way is None:
            return {**about, **self._measure_blind(unit, question)}
        if way.method not in supported(self.engines[0]):
            return {**about, "refused": METHODS[way.method].needs.otherwise}
        try:
            return {**about, **getattr(self, f"_measure_{unit.kind}")(unit, way, question)}
        except OnnxplainError as error:
            return {**about, "refused": str(error)}

    def _measure_blind(self, unit: Unit, question: Question) -> Row:
        heatmap = BLIND[unit.way](question.image, question.number)
        frame = self.engines[0].prepare(question.image).frames[0]
        return self._judge(question, StudyMap(heatmap, frame.map_to_input(heatmap), heatmap))

    def _measure_map(self, unit: Unit, way: Way, question: Question) -> Row:
        engine = self.engines[0]
        pixels = engine.preprocess(question.image)
        forwards = [cpu_seconds(lambda: engine.scores(pixels))[1] for _ in range(FORWARD_RUNS)]
        (found, options), seconds = cpu_seconds(
            lambda: explain_within(way, engine, unit.budget, question.image, question.target)
        )
        kept = map_of(found)
        keep_map(unit, kept)
        return {
            "evaluations": found.evaluations,
            "status": found.status,
            "probability": float(engine.scores(pixels)[0, question.target]),
            "seconds": seconds,
            "forward_seconds": float(np.median(forwards)),
            **options,
            **self._judge(question, kept),
        }

    def _judge(self, question: Question, found: StudyMap) -> Row:
        row: Row = {}
        if question.curves:
            row |= measure_curves(self.engines[0], question, found)
        if len(question.boxes_xyxy):
            row |= measure_boxes(question, found.heatmap)
        return row

    def _measure_seed(self, unit: Unit, way: Way, question: Question) -> Row:
        other = self._explain(unit, way, question, OTHER_SEED)
        return {"rank": rank_correlation(self._kept(unit, way, question).raw, other.raw)}

    def _measure_shuffled(self, unit: Unit, way: Way, question: Question) -> Row:
        # Another seed: the noise of the same masks would look like likeness.
        shuffled, _ = explain_within(way, self.engines[1], unit.budget, question.image, question.target, OTHER_SEED)
        return likeness(self._kept(unit, way, question), map_of(shuffled))

    def _measure_limit(self, unit: Unit, way: Way, question: Question) -> Row:
        """Correlation of the raw maps of each budget with that of many evaluations and another seed."""
        limit = self._explain(unit, way, question, LIMIT_SEED)
        near = {}
        for budget in BUDGETS:
            kept = self._kept(Unit("map", unit.model, unit.questions, unit.number, unit.way, budget), way, question)
            near[str(budget)] = correlation(kept.raw, limit.raw)
        return {"near": near}

    def _explain(self, unit: Unit, way: Way, question: Question, seed: int) -> StudyMap:
        found, _ = explain_within(way, self.engines[0], unit.budget, question.image, question.target, seed)
        return map_of(found)

    def _kept(self, unit: Unit, way: Way, question: Question) -> StudyMap:
        """The map of seed 0: from the cache, else made now."""
        path = map_path(unit)
        if not path.exists():
            keep_map(unit, self._explain(unit, way, question, 0))
        with np.load(path) as stored:
            return StudyMap(stored["heat"], stored["heat"], stored["raw"])


def run_study(ways: Sequence[Way], results: Path, models: Sequence[str], minutes: float) -> bool:
    """Measure what is missing, in the order of the plan; False if the time was over before the end."""
    benches = {model.name: Bench(model) for model in MODELS}
    by_name = {way.name: way for way in ways}
    done = {unit_key(row) for row in (read_results(results) if results.exists() else [])}
    started = time.monotonic()
    for stage in STAGES:
        units = [unit for unit in units_of(stage, ways) if unit_key(asdict(unit)) not in done]
        if stage.model not in models or not units:
            continue
        print(f"{(time.monotonic() - started) / 60:.1f} min: {stage}, {len(units)} units", flush=True)
        for unit in units:
            if unit.number >= len(benches[unit.model].questions[unit.questions]):
                continue
            if time.monotonic() - started > 60 * minutes:
                return False
            append_case(results, [{**asdict(unit), **benches[unit.model].measure(unit, by_name.get(unit.way))}])
            done.add(unit_key(asdict(unit)))
    return True


def cpu_seconds(action: Any) -> tuple[Any, float]:
    """The result, and the processor's seconds: these hardly depend on other work on the machine."""
    started = time.process_time()
    result = action()
    return result, time.process_time() - started


def map_of(explanation: Any) -> StudyMap:
    heatmap = explanation.heatmap
    return StudyMap(heatmap, explanation.frame.map_to_input(heatmap), explanation.raw)


def unit_key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in Unit.__dataclass_fields__)


def map_path(unit: Unit) -> Path:
    budget = "own" if unit.budget is None else unit.budget
    return MAPS / unit.model / f"{unit.questions}-{unit.number}-{unit.way.replace(' ', '')}-{budget}.npz"


def keep_map(unit: Unit, found: StudyMap) -> None:
    path = map_path(unit)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the size of the input: photos are much larger.
    np.savez(path, heat=found.heat, raw=found.raw)
