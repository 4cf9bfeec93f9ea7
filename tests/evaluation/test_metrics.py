"""The table of metrics: every row on a hand-made sample of known answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxplain.data import Record
from onnxplain.data.class_mask import ClassMask
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation import METRICS
from onnxplain.evaluation.metrics.causal import causal_curves
from onnxplain.evaluation.metrics.metric import Facts
from onnxplain.evaluation.metrics.table import choose_metrics
from onnxplain.evaluation.plan import make_plan
from onnxplain.evaluation.sample import Asked, BoxSample, HeatmapSample, Sample
from onnxplain.explainers import GradCAM
from onnxplain.runtime.results import Prediction
from tests.evaluation.blue_and_red import write_model

SIZE_HW = (100, 200)
TRUTH = np.array([[120, 0, 170, 10], [20, 30, 60, 90]], np.float32)
LABEL_MAP = np.zeros(SIZE_HW, np.uint8)
LABEL_MAP[30:90, 20:60], LABEL_MAP[90:100, 20:60] = 1, 255
MASK = ClassMask(LABEL_MAP, 1)
"""The second true box, with pixels below it that are not labelled."""
SCORES = np.array([0.4, 0.3, 0.1, 0.09, 0.06, 0.05], np.float32)
METRIC = {(metric.kind, metric.name): metric for metric in METRICS}


def sample(class_id: int | None = 0, box: tuple[float, float, float, float] | None = None) -> Sample:
    record = Record(np.zeros((*SIZE_HW, 3), np.uint8), "blue", TRUTH, "made", mask=MASK)
    return Sample(record, SIZE_HW, Prediction.from_scores(SCORES, (), box, None if box is None else "head"), class_id)


def heatmap(*hot: tuple[int, int, int, int, float], class_id: int = 0) -> HeatmapSample:
    """Rectangles x1, y1, x2, y2 of heat."""
    heat = np.zeros(SIZE_HW, np.float32)
    for x1, y1, x2, y2, value in hot:
        heat[y1:y2, x1:x2] = value
    return HeatmapSample(sample(class_id), heat, heat, threshold=0.15)


SECOND = (20, 30, 60, 90, 1.0)
"""The second true box, exactly."""
BESIDE = (40, 30, 80, 90, 1.0)
"""Half of it: IoU 1/3."""
AROUND = (20, 30, 60, 90, 1.0), (0, 0, 200, 100, 0.05)

CASES = [
    ("prediction", "top1", sample(0), True),
    ("prediction", "top1", sample(1), False),
    ("prediction", "top5", sample(4), True),
    ("prediction", "top5", sample(5), False),
    ("box", "mean_iou", BoxSample(sample(), (20, 30, 60, 60)), 0.5),
    ("box", "mean_iou", BoxSample(sample(), (0, 95, 5, 100)), 0.0),
    ("box", "acc_50", BoxSample(sample(), (20, 30, 60, 60)), True),
    ("box", "acc_50", BoxSample(sample(), (20, 30, 60, 59)), False),
    ("box", "top1_loc", BoxSample(sample(0), (20, 30, 60, 60)), True),
    ("box", "top1_loc", BoxSample(sample(1), (20, 30, 60, 60)), False),
    ("box", "top1_loc", BoxSample(sample(0), (20, 30, 60, 59)), False),
    ("heatmap", "mean_iou", heatmap(SECOND), 1.0),
    ("heatmap", "mean_iou", heatmap(BESIDE), 1 / 3),
    ("heatmap", "mean_iou", heatmap(), 0.0),
    ("heatmap", "gt_known", heatmap(SECOND), True),
    ("heatmap", "gt_known", heatmap(BESIDE), False),
    ("heatmap", "top1_loc", heatmap(SECOND), True),
    ("heatmap", "top1_loc", heatmap(SECOND, class_id=1), False),
    ("heatmap", "mean_iou_stable", heatmap(SECOND), 1.0),
    ("heatmap", "mean_iou_stable", heatmap(), 0.0),
    ("heatmap", "gt_known_stable", heatmap(SECOND), True),
    ("heatmap", "gt_known_stable", heatmap(BESIDE), False),
    ("heatmap", "pointing", heatmap(SECOND), True),
    ("heatmap", "pointing", heatmap((73, 60, 74, 61, 1.0)), True),
    ("heatmap", "pointing", heatmap((75, 60, 76, 61, 1.0)), False),
    ("heatmap", "energy", heatmap(SECOND), 1.0),
    ("heatmap", "energy", heatmap(BESIDE), 0.5),
    ("heatmap", "energy", heatmap(), 0.0),
    ("heatmap", "mask_pointing", heatmap(SECOND), True),
    ("heatmap", "mask_pointing", heatmap((59, 60, 60, 61, 1.0)), True),
    ("heatmap", "mask_pointing", heatmap((60, 60, 61, 61, 1.0)), False),
    ("heatmap", "mask_pointing", heatmap((30, 92, 31, 93, 1.0), (30, 50, 31, 51, 0.5)), True),
    ("heatmap", "mask_pointing_near", heatmap((73, 60, 74, 61, 1.0)), True),
    ("heatmap", "mask_pointing_near", heatmap((74, 60, 75, 61, 1.0)), False),
    ("heatmap", "mask_energy", heatmap(SECOND, (20, 90, 60, 100, 1.0)), 1.0),
    ("heatmap", "mask_energy", heatmap(BESIDE), 0.5),
    ("heatmap", "empty", heatmap(), True),
    ("heatmap", "empty", heatmap(BESIDE), False),
]


@pytest.mark.parametrize(("kind", "name", "seen", "expected"), CASES)
def test_known_answers(kind: str, name: str, seen: object, expected: float | bool) -> None:
    found = METRIC[kind, name].measure(seen)

    assert found == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected)


def test_hits_at_every_level() -> None:
    """Hot where the object is, lukewarm in a larger place elsewhere: from the middle level on the object is largest.

    The bicubic resize to 224 × 224 rings at edges, so levels next to either heat are left out.
    """
    seen = heatmap(SECOND, (100, 20, 200, 100, 0.5))
    largest = METRIC["heatmap", "maxboxacc"].measure(seen)
    any_region = METRIC["heatmap", "maxboxacc_v2"].measure(seen).reshape(3, 255)

    assert not largest[40:110].any()
    assert largest[130:230].all()
    assert any_region[:, 40:230].all()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> HeatmapSample:
    """A heatmap of the predicted class and one of the same class by other weights."""
    folder = tmp_path_factory.mktemp("asked")
    engine = write_model(folder / "model.onnx")
    other = write_model(folder / "other.onnx", power=1)
    image = np.random.default_rng(0).integers(0, 60, (*SIZE_HW, 3), np.uint8)
    image[30:90, 20:60] = (60, 80, 250)
    explanation = GradCAM(engine)(image)
    return HeatmapSample(
        sample(0, box=(20.0, 30.0, 60.0, 90.0)),
        explanation.heatmap,
        explanation.heatmap,
        0.15,
        Asked(engine, explanation, image, GradCAM(other)(image, explanation.target)),
    )


def test_metrics_of_the_predicted_class_are_those_of_their_modules(asked: HeatmapSample) -> None:
    engine, explanation = asked.asked.engine, asked.asked.explanation
    input_chw = engine.preprocess(asked.asked.image_hwc)[0]
    heat = explanation.frame.map_to_input(explanation.heatmap)
    curves = causal_curves(engine.scores, input_chw, heat, explanation.target)
    kept = float(engine.scores((input_chw * heat)[None])[0, explanation.target])
    regions = explanation.boxes().xyxy[0]
    inside = explanation.heatmap[30:90, 20:60].sum() / explanation.heatmap.sum()
    shared = np.prod(np.minimum(regions[2:], [60, 90]) - np.maximum(regions[:2], [20, 30]))
    expected = {
        "insertion": curves.insertion_auc,
        "deletion": curves.deletion_auc,
        "average_drop": max(0, explanation.score - kept) / explanation.score,
        "increase": kept > explanation.score,
        "agreement_iou": shared / (np.prod(regions[2:] - regions[:2]) + 40 * 60 - shared),
        "agreement_energy": inside,
    }
    for name, value in expected.items():
        assert METRIC["heatmap", name].measure(asked) == pytest.approx(value, abs=1e-5), name
    assert 0.5 < METRIC["heatmap", "sanity"].measure(asked) < 1
    same = replace(asked, asked=replace(asked.asked, other=explanation))
    assert METRIC["heatmap", "sanity"].measure(same) == pytest.approx(1)
    measured = {name for kind, name, *_ in CASES if kind == "heatmap"} | {"maxboxacc", "maxboxacc_v2", "sanity"}
    assert measured | set(expected) == {name for kind, name in METRIC if kind == "heatmap"}


def test_every_row_is_one() -> None:
    assert len(METRIC) == len(METRICS)
    assert len({(metric.kind, metric.column) for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.definition
        lower = metric.name in ("deletion", "average_drop", "sanity", "empty")
        assert metric.better == ("lower" if lower else "higher")


def test_the_documentation_names_every_number() -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for metric in METRICS:
        assert f"`{metric.name}`" in page


@pytest.mark.parametrize(
    ("choice", "sanity", "held", "not_held"),
    [
        ("localization", False, {"top1", "acc_50", "maxboxacc", "agreement_iou"}, {"insertion", "sanity"}),
        ("faithfulness", False, {"top1", "insertion", "increase"}, {"acc_50", "maxboxacc", "sanity"}),
        ("faithfulness", True, {"top1", "deletion", "sanity"}, {"maxboxacc"}),
        ("all", True, {metric.name for metric in METRICS}, set()),
    ],
)
def test_groups(choice: str, sanity: bool, held: set[str], not_held: set[str]) -> None:
    names = {metric.name for metric in choose_metrics(choice, sanity=sanity, masks=True)}

    assert held <= names
    assert not (not_held & names)


def test_another_choice_is_refused() -> None:
    with pytest.raises(OnnxplainError, match="localization, faithfulness, all"):
        choose_metrics("speed")


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        (Facts(labels=True, classes=6, box_head=True, sanity=True), set()),
        (Facts(labels=True, classes=5, box_head=True, sanity=True), {"top5"}),
        (Facts(labels=False, classes=6, box_head=True, sanity=True), {"top1", "top5", "top1_loc"}),
        (Facts(labels=True, classes=6, box_head=False, sanity=True), {"agreement_iou", "agreement_energy"}),
        (Facts(labels=True, classes=6, box_head=True, sanity=False), {"sanity"}),
    ],
)
def test_what_cannot_be_measured_says_why(facts: Facts, missing: set[str]) -> None:
    plan = make_plan(METRICS, facts, ["cam"], ["theirs"], mean_box=False)
    model = [each for each in plan if each.path[0] in ("classification", "methods") and each.path[-1] != "theirs"]

    assert {m.name for each in model for m in each.metrics if each.unmet(m)} == missing
    asked_here = {metric.name for metric in METRICS if metric.of_predicted}
    theirs = plan["methods", "theirs"]
    assert {metric.name for metric in theirs.metrics if theirs.unmet(metric)} == asked_here | (missing & {"top1_loc"})
    assert bool(plan["box",].measured) == facts.box_head
    assert not plan["baselines", "mean_box"].measured
    assert all(not metric.of_predicted for metric in plan["baselines", "center_gaussian"].metrics)
