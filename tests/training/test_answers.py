"""Networks that answer with several labels, or with a number: data, training, scores, and the end of the graph."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch

from onnxplain.contract import EndNode, EndValue, GraphEnd, ModelSpec, Preprocessing, tell_heads
from onnxplain.data import DataSet, open_dataset
from onnxplain.errors import OnnxplainError
from onnxplain.exporters import export
from onnxplain.training.checkpoint import load_checkpoint
from onnxplain.training.localizer import LocalizerConfig, build_localizer
from onnxplain.training.options import ANSWERS, TrainingOptions
from onnxplain.training.parts import Parts, open_parts
from onnxplain.training.photo_training import PhotoParts, photo_training, read_parts
from onnxplain.training.score import (
    SCORE_TYPES,
    LocalizationScore,
    MultiLabelScore,
    NumberScore,
    score_labels,
    score_numbers,
)
from onnxplain.training.state import StateFile
from onnxplain.training.step import LEARNED, TrainBatch
from onnxplain.training.truths import told_supervision
from tests.training.shapes import NAMES, write_shapes
from tests.training.tagged import HIGHEST, LOWEST, write_tagged

OPTIONS = TrainingOptions(
    supervision="multi-label",
    widths=(8, 16),
    size_hw=(24, 32),
    epochs=40,
    batch_size=12,
    learning_rate=1e-2,
    weight_decay=0.0,
    augmentation=None,
)


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return open_dataset(write_tagged(tmp_path_factory.mktemp("tagged")), strict=True)


def whole(dataset: DataSet) -> Parts:
    """The same images in every part, to be learnt by heart."""
    return Parts(dataset, dataset, dataset, ())


def read(dataset: DataSet, options: TrainingOptions, column: str | None = None) -> PhotoParts:
    parts = whole(dataset).usable(options.supervision, column)
    return read_parts(parts, options.size_hw, options.supervision, strict=True)


def test_labels_of_images_are_rows_of_zero_and_one(tagged: DataSet) -> None:
    photos = read(tagged, OPTIONS)
    assert photos.train.labels == NAMES
    assert [path.name for path in (Path(record.image) for record in photos.train.records)] == [
        f"{number:02}.png" for number in range(12)
    ]
    assert photos.train.truths.tolist()[:4] == [[1, 1], [0, 0], [1, 0], [0, 1]]
    assert photos.train.truths.dtype == np.float32


def test_several_labels_are_learnt_by_heart(tagged: DataSet, tmp_path: Path) -> None:
    photos = read(tagged, OPTIONS)
    seen = []
    report = photo_training(photos, OPTIONS).run(tmp_path / "tags.pt", progress=seen.append)
    assert isinstance(report.test, MultiLabelScore)
    assert (report.test.mean_average_precision, report.test.accuracy, report.test.count) == (1, 1, 12)
    assert seen[-1].accuracy == 1
    assert (seen[-1].mean_iou, seen[-1].mean_error) == (None, None)

    module = load_checkpoint(tmp_path / "tags.pt").module
    images = torch.rand(2, 3, 24, 32)
    with torch.no_grad():
        torch.testing.assert_close(module(images), {"labels": torch.sigmoid(module.heads(images)[0])})
    shares = photos.train.truths.mean(axis=0)
    constant = photos.constant()
    assert isinstance(constant, MultiLabelScore)
    assert constant.mean_average_precision == pytest.approx(float(shares.mean()))


@pytest.mark.parametrize("loss", ["huber", "squared"])
def test_a_number_is_learnt_in_its_unit(loss: str, tagged: DataSet, tmp_path: Path) -> None:
    options = replace(OPTIONS, supervision="number", number_loss=loss, epochs=60)
    photos = read(tagged, options)
    assert photos.train.labels == ("age",)
    assert len(photos.train) == 11, "the third photo has no number"
    seen = []
    report = photo_training(photos, options).run(tmp_path / "age.pt", progress=seen.append)
    constant = photos.constant()
    assert isinstance(report.test, NumberScore) and isinstance(constant, NumberScore)
    assert report.test.mean_absolute_error < 0.35 * constant.mean_absolute_error
    assert seen[-1].accuracy is None and seen[-1].mean_error is not None

    truths = photos.train.truths
    assert constant.mean_absolute_error == pytest.approx(float(np.abs(truths - np.median(truths)).mean()))
    module = load_checkpoint(tmp_path / "age.pt").module
    assert module.mean.item() == pytest.approx(truths.mean())
    assert module.scale.item() == pytest.approx(truths.std())
    assert LOWEST < module.mean.item() < HIGHEST
    images = torch.rand(2, 3, 24, 32)
    with torch.no_grad():
        plain = module.classifier(module.features(images).mean(dim=(2, 3)))
        torch.testing.assert_close(module(images), {"values": plain * module.scale + module.mean})


def graph_end(module: torch.nn.Module) -> GraphEnd:
    """The end of the graph that torch exports of a module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch
        program = torch.onnx.export(module, (torch.zeros(2, 3, 48, 64),), dynamo=True, verbose=False)
    graph = program.model_proto.graph

    def known(value: Any) -> EndValue:
        return EndValue(value.name, "float32", tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim))

    return GraphEnd(
        outputs=tuple(map(known, graph.output)),
        nodes=tuple(EndNode(node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node),
        values={value.name: known(value) for value in graph.value_info},
        opset=program.model_proto.opset_import[0].version,
    )


@pytest.mark.parametrize(("answer", "size"), [("labels", 3), ("values", 1)])
def test_the_end_of_the_graph_tells_the_kind(answer: str, size: int) -> None:
    module = build_localizer(LocalizerConfig(size, (48, 64), (8, 16), 0, answer=answer), 0).eval()
    assert list(module(torch.zeros(1, 3, 48, 64))) == [answer], "the name of the head"
    (head,) = tell_heads(graph_end(module)).heads
    assert (head.kind, head.size) == (answer, size)
    if answer == "labels":
        assert head.source != head.outputs[0].name, "the logits lie before the Sigmoid"


@pytest.mark.parametrize(("answer", "labels"), [("labels", ("a", "b", "c")), ("values", ("age",))])
def test_the_exported_file_has_the_head(answer: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    """`export` itself compares outputs and gradients with the module and torch.autograd."""
    module = build_localizer(LocalizerConfig(len(labels), (16, 16), (8,), 0, answer=answer), 0).eval()
    if answer == "values":
        module.expect_numbers(torch.tensor([[20.0], [40.0]]))
    preprocessing = Preprocessing("rgb", resize="stretch")
    path = tmp_path / "model.onnx"
    export(module, path, input_size_hw=(16, 16), layers=["features"], labels=labels, preprocessing=preprocessing)
    session = onnxruntime.InferenceSession(path)
    spec = ModelSpec.from_json(session.get_modelmeta().custom_metadata_map["onnxplain"])
    assert [(head.name, head.kind, head.labels) for head in spec.heads] == [(answer, answer, labels)]
    assert spec.cam is not None and spec.cam.layer == "features"
    images = torch.rand(2, 3, 16, 16)
    (found,) = session.run([answer], {"image": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(images)[answer].numpy(), rtol=1e-5, atol=1e-6)


def test_boxes_stand_beside_classes_only() -> None:
    with pytest.raises(OnnxplainError, match="a box head only beside classes"):
        LocalizerConfig(2, answer="labels")
    with pytest.raises(OnnxplainError, match="found the answer 'detections'"):
        LocalizerConfig(2, box_channels=0, answer="detections")
    with pytest.raises(OnnxplainError, match="found the answer classes, expected values"):
        build_localizer(LocalizerConfig(2), 0).expect_numbers(torch.zeros(3, 2))


def test_a_number_that_never_changes_has_a_scale_of_one() -> None:
    module = build_localizer(LocalizerConfig(1, box_channels=0, answer="values"), 0)
    module.expect_numbers(torch.full((4, 1), 7.0))
    assert (module.mean.item(), module.scale.item()) == (7, 1)


def test_every_supervision_has_an_answer_that_is_learnt() -> None:
    assert set(ANSWERS.values()) == set(LEARNED)
    module = build_localizer(LocalizerConfig(2, (16, 16), (4,), 0, answer="labels"), 0)
    batch = TrainBatch(torch.zeros(2, 3, 16, 16), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    learned = LEARNED["labels"](module, batch, OPTIONS.loop(1))
    logits = module.heads(batch.images)[0].detach()
    assert learned.hits.tolist() == ((logits > 0) == (batch.truths > 0)).double().mean(dim=1).tolist()


def test_scores_of_labels_and_numbers() -> None:
    logits = np.array([[2.0, -3.0], [1.0, 4.0]], np.float32)
    score = score_labels(logits, np.array([[1, 0], [0, 1]], np.float32))
    sure = 1 / (1 + np.exp(-np.array([2.0, 3.0, -1.0, 4.0])))
    assert (score.mean_average_precision, score.accuracy) == (1, 0.75)
    assert score.probability == pytest.approx(sure.mean())
    surer = score_labels(2 * logits, np.array([[1, 0], [0, 1]], np.float32))
    assert surer.quality > score.quality, "equal precision: the surer answers are kept"
    assert score_labels(logits, np.zeros((2, 2), np.float32)).mean_average_precision == 0
    near, far = (score_numbers(np.full((2, 1), value, np.float32), np.zeros((2, 1), np.float32)) for value in (1, 3))
    assert near.quality > far.quality


@pytest.mark.parametrize(
    "score", [MultiLabelScore(0.5, 0.75, 0.6, 3), NumberScore(2.5, 4), LocalizationScore(0.5, None, 0.4, 2)]
)
def test_a_stopped_training_keeps_scores_of_every_type(score: object, tmp_path: Path) -> None:
    from onnxplain.training.loop import LoopState

    assert type(score) in SCORE_TYPES.values()
    kept = StateFile(tmp_path / "a.state", {"seed": 0})
    kept.save(LoopState((score,), {}, {}, {}), 1.0)
    assert kept.load()[0].scores == (score,)


def test_the_data_set_says_what_it_is_for(tagged: DataSet, tmp_path: Path) -> None:
    numbers = tmp_path / "ages.csv"
    tagged_folder = Path(tagged.records[0].image).parent
    numbers.write_text("file,age\n00.png,3\n01.png,4\n")
    single = tmp_path / "single.csv"
    single.write_text("file,label\n00.png,a\n01.png,b\n")
    assert told_supervision(tagged) == "multi-label"
    assert told_supervision(open_dataset(numbers, images=tagged_folder)) == "number"
    assert told_supervision(open_dataset(single, images=tagged_folder)) == "boxes"
    assert told_supervision(open_dataset(write_shapes(tmp_path / "shapes", boxes=2))) == "boxes"


def test_boxes_of_several_classes_are_labels_when_asked(tmp_path: Path) -> None:
    source = write_shapes(tmp_path / "shapes")
    text = source.read_text()
    source.write_text(f"{text}00.png,red,1,1,9,9\n")
    photos = read(open_dataset(source, strict=True), OPTIONS)
    assert photos.train.truths.tolist()[:3] == [[1, 1], [0, 1], [1, 0]]


def test_images_are_divided_with_their_labels_and_without(tmp_path: Path) -> None:
    source = write_tagged(tmp_path / "tagged", 40)
    parts = open_parts(source, seed=1)
    named = [{Path(record.image).name for record in part.records} for part in (parts.train, parts.validation)]
    assert parts.test is not None
    named.append({Path(record.image).name for record in parts.test.records})
    assert sum(map(len, named)) == len(set().union(*named)) == 40
    usable = parts.usable("number")
    assert usable.left_out == ((1, "without a number in age"),) or "02.png" not in named[0]
    single = parts.usable("labels")
    assert {reason for _, reason in single.left_out} == {"of several classes", "without a label"}


@pytest.mark.parametrize(
    ("supervision", "column", "says"),
    [
        ("labels", "age", "found 'age' for supervision labels, expected it only for number"),
        ("number", "size", "found the columns of numbers age and not 'size'"),
        ("boxes", None, "found labels but no boxes"),
    ],
)
def test_what_the_data_set_does_not_have_is_refused(
    supervision: str, column: str | None, says: str, tagged: DataSet
) -> None:
    with pytest.raises(OnnxplainError, match=says):
        whole(tagged).usable(supervision, column)


def test_numbers_alone_have_no_labels(tmp_path: Path) -> None:
    write_tagged(tmp_path)
    (tmp_path / "tagged.csv").unlink()
    source = tmp_path / "ages.csv"
    source.write_text("file,age,weight\n00.png,3,1\n01.png,4,2\n")
    parts = whole(open_dataset(source, strict=True))
    for supervision, says in (
        ("boxes", "learn a number"),
        ("labels", "learn a number"),
        ("multi-label", "found no labels"),
        ("number", "columns of numbers age, weight, expected one to learn"),
    ):
        with pytest.raises(OnnxplainError, match=says):
            parts.usable(supervision)
    assert parts.usable("number", "weight").train.labels == ("weight",)


def test_photos_read_for_something_else_are_refused(tagged: DataSet) -> None:
    with pytest.raises(OnnxplainError, match="photos read for multi-label, expected number"):
        photo_training(read(tagged, OPTIONS), replace(OPTIONS, supervision="number"))
