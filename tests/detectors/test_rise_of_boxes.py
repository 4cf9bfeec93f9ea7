"""RISE of boxes: against D-RISE's formula on the same masks, against maps that are known, on files of every layout."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from onnxplain import Engine
from onnxplain.contract.detectors import LAYOUTS, DetectorSpec
from onnxplain.errors import OnnxplainError
from onnxplain.explainers import RISE, Explanation, RiseTally
from onnxplain.explainers.masked.masked_scores import open_masked_scores
from onnxplain.explainers.masked.masks import MaskGeometry, choose_grid
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.explainers.rise import rise
from onnxplain.explainers.rise.estimator import find_estimator
from onnxplain.runtime import Detection
from onnxplain.runtime.box import paired_iou, pairwise_iou
from onnxplain.runtime.detection.columns import DetectorColumns
from onnxplain.runtime.detection.watched import WatchedDetections
from tests.detectors.fakes import FAKES
from tests.detectors.files import write_detector, write_yolo
from tests.detectors.seeing import (
    BLOBS,
    SIZE_HW,
    boxes_of_cells,
    classes_of_cells,
    open_dense,
    open_ordering,
    open_suppressing,
    photo_of_blobs,
)
from tests.detectors.test_detect import YOLO, photo

BLACK = (0.0, 0.0, 0.0)
WRITERS: dict[str, Callable[[Path], Engine]] = {"NonMaxSuppression": open_suppressing, "TopK": open_ordering}


def explain_all(engine: Engine, image, **options) -> list[Explanation]:
    return RISE(engine, **options).for_targets(image, ["all"])


def iou(box, other) -> float:
    x1, y1, x2, y2 = *np.maximum(box[:2], other[:2]), *np.minimum(box[2:], other[2:])
    shared = max(x2 - x1, 0) * max(y2 - y1, 0)
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (box, other)]
    return shared / (sum(areas) - shared)


def test_the_papers_formula_with_the_same_masks(tmp_path: Path) -> None:
    """Petsiuk et al. 2021: every mask's weight is the best similarity of a candidate; the map is their mean."""
    engine = open_dense(tmp_path / "model.onnx")
    image = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    found = explain_all(engine, image, estimator="paper", masks=96, fill=BLACK, keep=0.4, grid=8)
    assert len(found) > 3

    geometry = MaskGeometry((64, 64), 8, 0.4)
    masks = geometry.render(find_estimator("paper").open_sampler(geometry, 0).draw(0, 96))
    copies = image.transpose(2, 0, 1)[None] / np.float32(255) * masks[:, None]
    (rows,) = onnxruntime.InferenceSession(engine.path).run(None, {"image": copies.astype(np.float32)})
    centres, sizes, scores = rows[:, :2], rows[:, 2:4], rows[:, 4:]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    for each in found[:4]:
        box, c = np.array(each.detection.xyxy), each.detection.class_id
        # The box is clipped to the photo; only boxes inside it are compared here.
        if box.min() <= 0 or box.max() >= 64:
            continue
        weights = [max(iou(box, b) * p for b, p in zip(boxes[i].T, scores[i, c], strict=True)) for i in range(96)]
        expected = np.tensordot(weights, masks, 1) / (0.4 * 96)
        np.testing.assert_allclose(each.raw, expected, atol=2e-5)
        assert np.ptp(weights) > 0.05, "masks must matter for this test"


@pytest.mark.parametrize("inside", WRITERS)
def test_maps_that_are_known(tmp_path: Path, inside: str) -> None:
    """A cell's score is its brightness under the mask: S(x) = score · E[mean of M over the cell · M(x)] / p."""
    engine, p = WRITERS[inside](tmp_path / "model.onnx"), 0.4
    found = explain_all(engine, photo_of_blobs(), fill=BLACK, grid=5, keep=p, masks=512)
    assert [each.target_name for each in found] == ["1#1", "2#1", "1#2"]
    geometry = MaskGeometry(SIZE_HW, 5, p)
    kernels = [
        np.mean([(cut := matrix[start : start + side]) @ cut.T for start in range(cell)], axis=0)
        for matrix, side, cell in zip((geometry.rows, geometry.columns), SIZE_HW, geometry.cell_hw, strict=True)
    ]
    for each, cell in zip(found, sorted(BLOBS, key=lambda key: -BLOBS[key]), strict=True):
        x1, y1, x2, y2 = boxes_of_cells()[cell].astype(int)
        assert each.detection.xyxy == (x1, y1, x2, y2)
        assert each.detection.class_id == classes_of_cells()[cell]
        covariance = np.outer(kernels[0][:, y1:y2].mean(axis=1), kernels[1][:, x1:x2].mean(axis=1))
        expected = each.score * (p + (1 - p) * covariance)
        error = each.report.standard_error
        assert np.abs(each.raw - expected).max() < 0.02
        assert (np.abs(each.raw - expected) <= 2.36 * error + 1e-4).mean() > 0.8
        assert np.corrcoef(each.raw.ravel(), expected.ravel())[0, 1] > 0.99
        y, x = np.unravel_index(each.heatmap.argmax(), SIZE_HW)
        assert x1 <= x < x2
        assert y1 <= y < y2


@pytest.mark.parametrize("name", [*LAYOUTS, "eight bits"])
def test_every_layout(tmp_path: Path, name: str) -> None:
    """Outputs that do not depend on the image: under every mask the similarity is the detection's score."""
    if name == "eight bits":
        path = write_yolo(tmp_path / "model.onnx", [each for each in YOLO if each.score > 0.85], quantize=0.9)
        engine, size_hw = Engine(path), (320, 320)
    else:
        engine = Engine(write_detector(tmp_path / "model.onnx", name), detector=name)
        size_hw = FAKES[name].size_hw
    expected = engine.detect(photo(*size_hw))[0]
    image, asked = photo(*size_hw), [expected[index] for index in range(len(expected))]
    assert asked
    black_box, geometry = open_black_box(engine, None, "mean"), MaskGeometry(size_hw)
    view = black_box.look(image)
    whole = black_box.see_whole(view)
    placed = black_box.place(asked, view, whole)
    scores = open_masked_scores(black_box, view, geometry, 2, placed, whole)
    assert [black_box.describe(each, view, whole).detection for each in placed] == asked
    draw = find_estimator("paper").open_sampler(geometry, 0).draw(0, 3)
    for values in (scores.unmasked, *scores(draw)):
        np.testing.assert_allclose(values, expected.confidence, rtol=1e-4)


def test_the_number_of_a_detection_is_that_of_the_contract(tmp_path: Path) -> None:
    """candidate · (C + 4) + class; C = 1 where a candidate carries its own class."""
    best = RISE(Engine(write_yolo(tmp_path / "yolo.onnx", YOLO)), masks=2)(photo(320, 320))
    assert (best.target, best.target_name) == (500 * 84 + 16, "16#1")
    (best, *_) = explain_all(open_ordering(tmp_path / "ordered.onnx"), photo_of_blobs(), masks=2)
    assert best.target == 0
    second = RISE(open_ordering(tmp_path / "ordered.onnx"), masks=2)(photo_of_blobs(), "#2")
    assert second.target == 1 * 5


def test_detections_share_the_masks(tmp_path: Path) -> None:
    engine = open_dense(tmp_path / "model.onnx")
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    runs = []
    engine.detector.run, run = lambda pixels: runs.append(len(pixels)) or run(pixels), engine.detector.run
    together = explain_all(engine, image, masks=128, grid=8)
    assert runs == [1]
    assert len(together) > 2
    for each in together[:3]:
        alone = RISE(engine, masks=128, grid=8)(image, each.target_name)
        np.testing.assert_array_equal(alone.raw, each.raw)
        assert alone.report.relative_error == pytest.approx(each.report.relative_error)


def test_groups_of_targets_give_the_same_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, calls = open_suppressing(tmp_path / "model.onnx"), []
    together = explain_all(engine, photo_of_blobs(), masks=40)
    monkeypatch.setattr(rise, "_MOST_BYTES", 2 * 64 * 96 * 8 * 8)
    apart = explain_all(engine, photo_of_blobs(), masks=40, progress=lambda *done: calls.append(done))
    assert [each.target_name for each in apart] == ["1#1", "2#1", "1#2"]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one.raw, other.raw)
    assert calls[-1] == (80, 80)


@pytest.mark.parametrize("batch", [1, 3, "N"])
def test_batches_and_resumed_runs_give_the_same_map(tmp_path: Path, batch: int | str) -> None:
    engine = open_dense(tmp_path / "model.onnx", batch=batch)
    image = np.random.default_rng(2).integers(0, 256, (50, 70, 3), np.uint8)
    whole = RISE(engine, masks=150, batch_size=5)(image, "#2")
    first = RISE(engine, masks=70, batch_size=4)
    *_, last = first.stream(image, "#2")
    last.tally.save(tmp_path / "tally.npz")
    *_, longer = RISE(engine, masks=150, batch_size=7).stream(image, "#2", RiseTally.load(tmp_path / "tally.npz"))
    np.testing.assert_allclose(longer.explanation().raw, whole.raw, atol=1e-6)
    with pytest.raises(OnnxplainError, match="tally: found"):
        RISE(engine, masks=150).stream(image, "#1", last.tally)


def test_tolerance_and_budget_stop_the_sampling(tmp_path: Path) -> None:
    engine = open_suppressing(tmp_path / "model.onnx")
    (best, *_) = explain_all(engine, photo_of_blobs(), masks=4000, tolerance=0.3)
    assert best.report.stopped == "tolerance"
    assert best.report.masks < 4000
    (best, *_) = explain_all(engine, photo_of_blobs(), masks=4000, budget_seconds=1e-6)
    assert best.report.stopped == "budget"


def test_an_image_on_which_nothing_is_left_under_masks(tmp_path: Path) -> None:
    """NonMaxSuppression returns no row at all for a black copy."""
    engine = open_suppressing(tmp_path / "model.onnx")
    watched = WatchedDetections(np.array([[0, 0, 16, 16]], np.float32), np.array([1]))
    outputs = engine.detector.run(np.zeros((1, 3, *SIZE_HW), np.float32))
    assert len(outputs["boxes"]) == 0
    (columns,) = engine.detector.read(outputs)
    np.testing.assert_array_equal(watched.similarity(engine.detector.spec, columns, SIZE_HW), [0])


def dense_columns(count: int, classes: int, seed: int = 0) -> DetectorColumns:
    rng = np.random.default_rng(seed)
    sizes = np.hstack([rng.uniform(0, 640, (count, 2)), rng.uniform(4, 200, (count, 2))])
    rows = np.hstack([sizes, rng.random((count, 1)), rng.beta(0.2, 3, (count, classes))]).astype(np.float32)
    return DetectorColumns({"box": rows[:, :4], "objectness": rows[:, 4:5], "classes": rows[:, 5:]})


def dense_spec(count: int, classes: int) -> DetectorSpec:
    return DetectorSpec("yolo-anchor", (("output",),), classes=classes, candidates=count)


@pytest.mark.parametrize("count", [1, 200, 256, 257, 3000])
def test_skipped_candidates_could_not_agree_more(count: int) -> None:
    """The best candidates are compared first, and most others never: the maximum over all is the same."""
    columns = dense_columns(count, 5)
    centres, sizes = columns.parts["box"][:, :2], columns.parts["box"][:, 2:]
    boxes = np.hstack([centres - sizes / 2, centres + sizes / 2])
    rng = np.random.default_rng(1)
    chosen = boxes[rng.integers(0, count, 12)] + rng.normal(0, 5, (12, 4)).astype(np.float32)
    classes = rng.integers(0, 5, 12)
    found = WatchedDetections(chosen, classes).similarity(dense_spec(count, 5), columns, (640, 640))
    scores = columns.parts["objectness"] * columns.parts["classes"]
    expected = [
        (paired_iou(np.broadcast_to(box, boxes.shape), boxes) * scores[:, c]).max()
        for box, c in zip(chosen, classes, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_candidates_that_are_not_finite_agree_with_nothing(odd: float) -> None:
    columns = dense_columns(300, 2)
    columns.parts["box"][:3] = odd
    columns.parts["classes"][3:6] = np.nan
    watched = WatchedDetections(np.array([[10, 10, 90, 90]], np.float32), np.array([1]))
    (found,) = watched.similarity(dense_spec(300, 2), columns, (640, 640))
    rest = DetectorColumns({name: part[6:] for name, part in columns.parts.items()})
    assert found == watched.similarity(dense_spec(294, 2), rest, (640, 640))[0] > 0


def test_memory_does_not_grow_with_the_batch() -> None:
    """25,200 candidates of 80 classes: what is read of an image is a small part of its outputs."""
    columns = dense_columns(25200, 80)
    spec, watched = dense_spec(25200, 80), WatchedDetections(np.array([[9, 9, 99, 99]] * 10, np.float32), np.arange(10))
    watched.similarity(spec, columns, (640, 640))
    tracemalloc.start()
    watched.similarity(spec, columns, (640, 640))
    assert tracemalloc.get_traced_memory()[1] < 25200 * 85 * 4
    tracemalloc.stop()


def test_overlaps_of_pairs() -> None:
    rng = np.random.default_rng(0)
    boxes, others = (np.hstack([c := rng.uniform(0, 50, (n, 2)), c + rng.uniform(-3, 40, (n, 2))]) for n in (7, 40))
    found = pairwise_iou(boxes.astype(np.float32), others.astype(np.float32))
    for box, row in zip(boxes, found, strict=True):
        np.testing.assert_allclose(row, paired_iou(np.broadcast_to(box, others.shape), others), atol=1e-5)


@pytest.mark.parametrize(
    ("sides", "grid"),
    [((100, 100), 8), ((40, 200), 16), ((80, 80), 8), ((60, 90), 11), ((3, 3), 16), ((320, 320), 8)],
)
def test_cells_are_at_most_half_a_box(sides: tuple[int, int], grid: int) -> None:
    assert choose_grid(np.array([[5, 5, 5 + sides[0], 5 + sides[1]]], np.float32), (320, 320)) == grid


def test_a_detection_is_a_target_and_must_be_of_the_image(tmp_path: Path) -> None:
    engine = open_suppressing(tmp_path / "model.onnx")
    (found,) = engine.detect(photo_of_blobs(), min_score=0.1)
    explanation = RISE(engine, masks=2)(photo_of_blobs(), found[1])
    assert explanation.detection == found[1]
    assert explanation.target_name == "2#1"
    for wrong in (
        Detection((0, 0, 16, 16), 0.9, 1, "1", 0),
        Detection(found[0].xyxy, 0.9, 1, "1", 99),
        Detection(found[0].xyxy, 0.9, 1, "1", -1),
    ):
        with pytest.raises(OnnxplainError, match="box is not in this image"):
            RISE(engine, masks=2)(photo_of_blobs(), wrong)


def test_yunets_four_faces(assets: Path) -> None:
    """128 masks of a grid of 8 already show each face alone. docs/detectors.md says how exact 512 are."""
    engine = Engine(assets / "detectors" / "face_detection_yunet.onnx", input_size_hw=(320, 320))
    found = explain_all(engine, assets / "images" / "coral_face.jpg", masks=128, grid=8)
    assert len(found) == 4
    for each in found:
        x1, y1, x2, y2 = (round(side) for side in each.detection.xyxy)
        y, x = np.unravel_index(each.heatmap.argmax(), each.heatmap.shape)
        assert x1 - 5 <= x <= x2 + 5
        assert y1 - 5 <= y <= y2 + 5


@pytest.mark.networks
def test_512_masks_correlate_with_the_limit(assets: Path) -> None:
    """The figures of docs/detectors.md: 0.973 to 0.993 for the four faces."""
    engine = Engine(assets / "detectors" / "face_detection_yunet.onnx", input_size_hw=(320, 320))
    photo_path = assets / "images" / "coral_face.jpg"
    limits = explain_all(engine, photo_path, masks=4096, grid=8, seed=1)
    for each, limit in zip(explain_all(engine, photo_path, masks=512, grid=8), limits, strict=True):
        assert np.corrcoef(each.heatmap.ravel(), limit.heatmap.ravel())[0, 1] > 0.95
