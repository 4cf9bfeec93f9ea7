"""The recipe of the demo's detector: what cells learn, the loss by hand, the file, and the same weights every time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("sklearn", reason="needs the train extra")
pytest.importorskip("skimage", reason="needs the train extra")

import onnx
import torch

from onnxplain import Engine
from onnxplain.contract import METADATA_KEY
from onnxplain.data.digits.group_scenes import draw_group
from onnxplain.demo import MODEL
from tools.digit_detector.loss import DetectionBatch, detection_loss, generalised_iou, responsible
from tools.digit_detector.network import STRIDES, GridConfig, GridDetector, cell_centres, corners
from tools.digit_detector.recipe import Recipe, draw_batch, load_backbone, train, write_file

SIDE = 96
CENTRES, CELL_STRIDES = cell_centres(SIDE)


@pytest.fixture(scope="module")
def network():
    """Random weights, with biases that let many cells find something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = GridDetector(GridConfig(10)).eval()
        for last in module.scores:
            torch.nn.init.normal_(last.bias)
    return module


@pytest.fixture(scope="module")
def path(network, tmp_path_factory) -> Path:
    """The network's file."""
    path = tmp_path_factory.mktemp("detector") / "model.onnx"
    write_file(network, path)
    return path


def boxes_of(*rows: list[float]):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_cells_are_the_middles_of_squares_level_by_level() -> None:
    assert CENTRES.shape == (2, 144 + 36 + 9)
    assert CENTRES[:, 0].tolist() == [4, 4]
    assert CENTRES[:, 1].tolist() == [12, 4]
    assert CENTRES[:, 144].tolist() == [8, 8]
    assert CENTRES[:, -1].tolist() == [80, 80]
    assert CELL_STRIDES.unique().tolist() == list(STRIDES)


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1),
        # Half of the box: nothing of the enclosing box is left over.
        ([0, 0, 2, 2], [0, 0, 2, 1], 1 / 2),
        # Apart: no overlap, and a third of the enclosing box is covered by neither.
        ([0, 0, 1, 1], [2, 0, 3, 1], -1 / 3),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9),
    ],
)
def test_generalised_iou_by_hand(box, other, expected: float) -> None:
    assert float(generalised_iou(boxes_of(box), boxes_of(other))[0]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("box", "stride", "cells"),
    [
        # Sides of up to 32 pixels belong to the first level: the nine cells within 12 pixels of the middle.
        ([12, 12, 44, 44], 8, 9),
        ([16, 16, 64, 64], 16, 9),
        ([4, 4, 92, 92], 32, 9),
        # Centres outside of the box do not count.
        ([23, 8, 33, 40], 8, 4),
        # A box between two columns of centres: all near cells count.
        ([14, 20, 18, 36], 8, 12),
    ],
)
def test_which_cells_are_responsible(box: list[float], stride: int, cells: int) -> None:
    owner = responsible(boxes_of(box), CENTRES, CELL_STRIDES)
    chosen = owner >= 0
    assert int(chosen.sum()) == cells
    assert CELL_STRIDES[chosen].unique().tolist() == [stride]
    middle = torch.tensor([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    assert float((CENTRES[:, chosen] - middle[:, None]).abs().max()) <= 1.5 * stride


def test_the_smaller_of_two_boxes_gets_the_cell_that_both_want() -> None:
    both = boxes_of([12, 12, 44, 44], [20, 20, 36, 36])
    owner = responsible(both, CENTRES, CELL_STRIDES)
    inside = ((CENTRES.T > 20) & (CENTRES.T < 36)).all(dim=1) & (CELL_STRIDES == 8)
    assert owner[inside].unique().tolist() == [1]
    assert 0 in owner
    assert (responsible(both[:0], CENTRES, CELL_STRIDES) == -1).all()


def loss_of(sure: float, shift: float, classes=(3, 7)) -> float:
    """The loss if every responsible cell gives its box, `shift` pixels to the right, and all are `sure`."""
    boxes = boxes_of([12, 12, 44, 44], [50, 50, 90, 90])
    owner = responsible(boxes, CENTRES, CELL_STRIDES)
    given = boxes[owner.clamp(min=0)].T + torch.tensor([shift, 0, shift, 0])[:, None]
    distances = torch.cat([CENTRES - given[:2], given[2:] - CENTRES])
    logits = torch.full((10, len(owner)), -float(sure))
    for index, class_id in enumerate((3, 7)):
        logits[class_id, owner == index] = sure
    module = SimpleNamespace(raw=lambda images: (distances[None], logits[None]), centres=CENTRES, strides=CELL_STRIDES)
    return float(detection_loss(module, DetectionBatch(torch.zeros(1), [boxes], [torch.tensor(classes)])))


def test_the_loss_is_zero_for_the_truth_and_grows_with_every_fault() -> None:
    assert loss_of(20, 0) == pytest.approx(0, abs=1e-5)
    # Boxes 2 pixels aside: 1 − IoU of each is 4 / 34 and 4 / 42, which counts twice; nine cells each.
    boxes = 2 * (4 / 34 + 4 / 42) / 2
    assert boxes < loss_of(20, 2) < boxes + 0.6
    assert loss_of(20, 0, classes=(3, 8)) > 5
    assert loss_of(0, 0) > 1


def test_an_image_without_digits_teaches_low_scores(network) -> None:
    batch = DetectionBatch(torch.zeros(1, 3, SIDE, SIDE), [boxes_of()], [torch.empty(0, dtype=torch.int64)])
    loss = detection_loss(network, batch)
    loss.backward()
    assert loss.item() > 0
    assert all(float(last.bias.grad.min()) > 0 for last in network.scores)


def test_the_file_answers_as_the_network_and_is_a_row_of_the_table(network, path: Path) -> None:
    engine = Engine(path)
    assert engine.spec.detector is not None
    assert (engine.spec.detector.layout_name, engine.spec.detector.candidates) == ("yolo-dense", 189)
    assert engine.spec.labels == tuple("0123456789")
    assert [layer.size_hw for layer in engine.spec.layers] == [(12, 12)]
    photos = [draw_group("test", index).image for index in range(2)]
    batch = draw_batch("test", 0, 2, 0, SIDE)
    np.testing.assert_allclose(engine.prepare(photos).pixels, batch.images.numpy(), atol=1e-6)
    with torch.no_grad():
        distances, logits = network.raw(batch.images)
    found = engine.detect(photos, min_score=0.3, iou=1.0)
    assert sum(map(len, found)) > 20
    for row, image in enumerate(found):
        frame = engine.prepare([photos[row]]).frames[0]
        boxes = corners(CENTRES, distances[row]).T.numpy()[image.candidate].clip(0, SIDE)
        scores, classes = torch.sigmoid(logits[row]).max(dim=0)
        height, width = photos[row].shape[:2]
        np.testing.assert_allclose(image.confidence, scores.numpy()[image.candidate], atol=1e-5)
        np.testing.assert_array_equal(image.class_id, classes.numpy()[image.candidate])
        clipped = np.asarray(frame.boxes_to_input(image.xyxy))
        borders = np.asarray(frame.boxes_to_input([[0, 0, width, height]]))[0]
        boxes = np.stack([boxes[:, i].clip(borders[i % 2], borders[2 + i % 2]) for i in range(4)], axis=1)
        np.testing.assert_allclose(clipped, boxes, atol=1e-3)


def test_the_layout_is_told_without_metadata_of_ours(path: Path, tmp_path: Path) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    # Gradients are inputs and outputs of ours, too.
    del model.graph.output[1:], model.graph.input[1:]
    assert METADATA_KEY not in {each.key for each in model.metadata_props}
    onnx.save(model, tmp_path / "plain.onnx")
    detector = Engine(tmp_path / "plain.onnx").spec.detector
    assert detector is not None
    assert (detector.layout_name, detector.classes) == ("yolo-dense", 10)


def test_the_backbone_is_that_of_the_localizer() -> None:
    network = GridDetector(GridConfig(10)).eval()
    load_backbone(network, MODEL)
    engine = Engine(MODEL)
    photo = draw_group("test", 1).image
    expected = engine.activations([photo]).features
    with torch.no_grad():
        found = network.features(torch.from_numpy(engine.prepare([photo]).pixels)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_the_same_recipe_gives_the_same_weights() -> None:
    first, again, other = (train(Recipe(images=8, batch_size=4, seed=seed), lambda *_: None) for seed in (0, 0, 1))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert not torch.equal(first.boxes[0].weight, other.boxes[0].weight)
