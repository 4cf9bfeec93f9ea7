"""Evaluation of labels and numbers: known answers, resuming, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxplain.contract import Preprocessing
from onnxplain.data.dataset import DataSet
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.evaluation import evaluate, evaluate_answers
from onnxplain.runtime import Engine

LABELS = ("red", "green", "blue")
PLAIN = Preprocessing(scale=1 / 255, mean=(0.0,), std=(1.0,), resize="stretch")
NO_BOXES = np.zeros((0, 4), np.float32)


def colours(count: int = 12) -> list[np.ndarray]:
    """Images of one colour each."""
    rng = np.random.default_rng(5)
    return [np.broadcast_to(rng.integers(0, 256, 3, np.uint8), (8, 8, 3)).copy() for _ in range(count)]


def make_model(path: Path, *, labels: bool) -> Engine:
    """Its labels are how red, green and blue the image is; its number is the mean of all three, in 0 to 255."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weights"], ["numbers"]),
    ]
    weights = np.eye(3, dtype=np.float32) * 9 if labels else np.full((3, 1), 85, np.float32)
    if labels:
        nodes.append(helper.make_node("Sigmoid", ["numbers"], ["scores"]))
    size = weights.shape[1]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("scores" if labels else "numbers", TensorProto.FLOAT, ["N", size])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return Engine(path, preprocessing=PLAIN, labels=LABELS if labels else None)


def labelled(images: list[np.ndarray]) -> DataSet:
    """Each image has the labels of its channels above 127; one without any has an empty label."""
    records = []
    for number, image in enumerate(images):
        shown = [label for label, value in zip(LABELS, image[0, 0], strict=True) if value > 127] or [""]
        records += [Record(image, label, NO_BOXES, name=f"image{number}") for label in shown]
    return DataSet("colours", LABELS, records)


def numbered(images: list[np.ndarray]) -> DataSet:
    """Each image has the mean of its values, and half of it."""
    numbers = [{"mean": float(image.mean()), "half": float(image.mean()) / 2} for image in images]
    records = [
        Record(image, "", NO_BOXES, name=f"image{index}", numbers=each)
        for index, (image, each) in enumerate(zip(images, numbers, strict=True))
    ]
    return DataSet("colours", (), records)


def by_definition(scores: np.ndarray, truths: np.ndarray) -> float:
    """Average precision of distinct scores: the mean, over the images that show the label, of the precision there."""
    order = np.argsort(-scores)
    hits = truths[order]
    precisions = [hits[: rank + 1].mean() for rank in range(len(hits)) if hits[rank]]
    return float(np.mean(precisions))


def test_labels_by_the_definition(tmp_path: Path) -> None:
    images = colours()
    found = evaluate_answers(make_model(tmp_path / "m.onnx", labels=True), labelled(images))
    means = np.array([image[0, 0] for image in images], float)
    expected = [by_definition(means[:, k], means[:, k] > 127) for k in range(3)]
    assert found.metric == "mean_average_precision"
    assert found.value == pytest.approx(np.mean(expected)) == pytest.approx(1.0)
    assert list(found.per_label) == [label for label in LABELS if label in found.per_label]
    assert found.low <= found.value <= found.high
    assert found.baseline == pytest.approx((means > 127).mean())
    assert (found.images, found.skipped) == (len(images), 0)


def test_labels_that_the_model_confuses(tmp_path: Path) -> None:
    """Each label is asked of another channel: the scores are those of the wrong colour."""
    images = colours()
    engine = make_model(tmp_path / "m.onnx", labels=True)
    turned = ("green", "blue", "red")
    engine.spec = engine.spec.with_labels(turned)
    found = evaluate_answers(engine, labelled(images))
    means = np.array([image[0, 0] for image in images], float)
    expected = [by_definition(means[:, turned.index(label)], means[:, k] > 127) for k, label in enumerate(LABELS)]
    assert found.value == pytest.approx(np.mean(expected))
    assert found.value < 0.9


def test_numbers(tmp_path: Path) -> None:
    images = colours()
    engine, dataset = make_model(tmp_path / "m.onnx", labels=False), numbered(images)
    means = np.array([image.mean() for image in images])
    exact, half = (evaluate_answers(engine, dataset, column=column) for column in ("mean", "half"))
    assert exact.value == pytest.approx(0, abs=1e-4)
    assert half.value == pytest.approx(np.mean(means / 2), rel=1e-5)
    assert half.baseline == pytest.approx(np.abs(means / 2 - np.median(means / 2)).mean())
    assert half.low < half.value < half.high


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    engine, dataset = make_model(tmp_path / "m.onnx", labels=True), labelled(colours())
    whole = evaluate_answers(engine, dataset, output=tmp_path / "whole")

    def stop(done: int, total: int, row: dict) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_answers(engine, dataset, output=tmp_path / "parts", on_row=stop)
    assert len((tmp_path / "parts" / "images.jsonl").read_text().splitlines()) == 5
    again = evaluate_answers(engine, dataset, output=tmp_path / "parts")
    assert again.to_json() == whole.to_json()
    assert json.loads((tmp_path / "parts" / "summary.json").read_text()) == whole.to_json()


def test_heatmaps_of_labels_are_measured_for_localization(tmp_path: Path) -> None:
    engine = make_model(tmp_path / "m.onnx", labels=True)
    boxes = np.array([[0, 0, 4, 4]], np.float32)
    records = [Record(image, "red", boxes, name=f"i{index}") for index, image in enumerate(colours(3))]
    found = evaluate(engine, DataSet("boxes", LABELS, records), ("rise",), options={"masks": 10})
    assert found.value("methods", "rise", "pointing") is not None
    assert found.value("classification", "top1") is None
    reasons = json.dumps(found.to_json()["reasons"])
    assert "independent" in reasons


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda engine, data: evaluate_answers(engine, data[1]), UnsupportedError, "kind classes, expected labels"),
        (lambda engine, data: evaluate_answers(data[2], numbered(colours())), OnnxplainError, "expected one: name one"),
        (
            lambda engine, data: evaluate_answers(data[2], numbered(colours()), column="width"),
            OnnxplainError,
            "no column 'width'",
        ),
        (lambda engine, data: evaluate(data[2], data[1], ("rise",)), UnsupportedError, "kind values, expected classes"),
        (
            lambda engine, data: evaluate(data[3], data[1], ("rise",), "faithfulness"),
            UnsupportedError,
            "found faithfulness for a head of kind labels",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, call, kind, message: str) -> None:
    labels, values = (make_model(tmp_path / f"{name}.onnx", labels=name == "l") for name in ("l", "v"))
    classes = Engine(tmp_path / "l.onnx", preprocessing=PLAIN, heads=["scores:classes"])
    data = (None, labelled(colours()), values, labels)
    with pytest.raises(kind, match=message):
        call(classes, data)
