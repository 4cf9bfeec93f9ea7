"""Whole evaluations of a small localizer: every number against the calls that it is made of."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxplain import Engine
from onnxplain.data import DataSet, Record, mosaics, open_dataset
from onnxplain.data.boxes import paired_iou
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation import evaluate
from onnxplain.evaluation.evaluation import sum_up
from onnxplain.evaluation.image_ids import ImageIds
from onnxplain.evaluation.matching import match_labels
from onnxplain.evaluation.metrics.baselines import MeanBox, center_gaussian
from onnxplain.evaluation.metrics.max_box_accuracy import level_overlaps
from onnxplain.evaluation.metrics.metric import Facts
from onnxplain.evaluation.metrics.table import choose_metrics
from onnxplain.evaluation.plan import make_plan
from onnxplain.explainers import RISE, GradCAM, supported
from onnxplain.files.shown_paths import relative_to
from tests.data.written import FORMATS, paint, write
from tests.evaluation.blue_and_red import LABELS, write_data, write_model

METHODS = ("grad-cam", "layer-cam")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluated")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return write_model(folder / "model.onnx")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> DataSet:
    return write_data(folder / "data", 10)


def read_rows(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "images.jsonl").read_text(encoding="utf-8").splitlines()]


def test_localization_is_what_its_parts_say(engine: Engine, dataset: DataSet, tmp_path: Path) -> None:
    train = write_data(tmp_path / "train", 4)
    methods = supported(engine)
    found = evaluate(engine, dataset, methods, train=train, options={"evaluations": 250}).to_json()
    predictions = engine.predict([record.load() for record in dataset.records])
    truths = [record.boxes_xyxy for record in dataset.records]
    truth = np.concatenate(truths)
    right = np.array([each.label == record.label for each, record in zip(predictions, dataset.records, strict=True)])
    heads = paired_iou(np.array([each.box_xyxy for each in predictions]), truth)
    explanations = [GradCAM(engine)(record.load(), record.label) for record in dataset.records]
    overlaps = paired_iou(np.concatenate([each.boxes().xyxy[:1] for each in explanations]), truth)
    levels = [
        level_overlaps(each.heatmap, box, each.heatmap.shape) for each, box in zip(explanations, truths, strict=True)
    ]
    hits = np.mean([each.largest >= 0.5 for each in levels], axis=0)
    per_iou = {iou: np.mean([each.any_region >= iou for each in levels], axis=0).max() for iou in (0.3, 0.5, 0.7)}
    mean_box = MeanBox.of(train.records)

    assert found["classification"] == {"top1": pytest.approx(right.mean()), "top5": None}
    assert found["box"]["mean_iou"] == pytest.approx(heads.mean(), abs=1e-6)
    assert found["box"]["acc_50"] == pytest.approx((heads >= 0.5).mean())
    assert list(found["methods"]) == list(methods)
    method = found["methods"]["grad-cam"]
    assert method["mean_iou"] == pytest.approx(overlaps.mean(), abs=1e-6)
    assert method["gt_known"] == pytest.approx((overlaps >= 0.5).mean())
    assert method["top1_loc"] == pytest.approx(((overlaps >= 0.5) & right).mean())
    assert method["maxboxacc"] == pytest.approx(hits.max())
    assert method["maxboxacc_level"] == hits.argmax()
    assert method["maxboxacc_v2"] == pytest.approx(np.mean(list(per_iou.values())))
    assert method["maxboxacc_v2_per_iou"] == {str(iou): pytest.approx(best) for iou, best in per_iou.items()}
    assert set(found["baselines"]) == {"center_box", "center_gaussian", "mean_box"}
    placed = np.array([mean_box.place(record.load().shape[:2]) for record in dataset.records])
    expected = paired_iou(placed, truth).mean()
    assert found["baselines"]["mean_box"]["mean_iou"] == pytest.approx(expected, abs=1e-6)
    assert (found["images"], found["skipped"], found["dataset"]) == (10, 0, "boxes")


def test_the_result_says_what_it_is(engine: Engine, dataset: DataSet) -> None:
    evaluation = evaluate(engine, dataset)
    found = evaluation.to_json()

    assert list(found) == [
        *("model", "dataset", "images", "skipped", "classification", "box", "methods", "baselines"),
        *("intervals", "counts", "reasons", "definitions", "run"),
    ]
    for result in evaluation.results:
        path = (*result.subject.path, result.metric.name)
        assert evaluation.value(*path) == result.estimate.value
        assert found["definitions"][result.metric.kind][result.metric.name] == result.metric.definition
        if result.estimate.value is not None:
            assert result.estimate.low <= result.estimate.value <= result.estimate.high
        else:
            assert result.reason
    assert found["reasons"] == {
        "classification": {"top5": "the model has no more than five classes"},
        "baselines": {"mean_box": "no training split was named"},
    }
    json.dumps(found, allow_nan=False)


def test_heatmaps_are_of_the_label_or_of_the_prediction(tmp_path: Path, dataset: DataSet) -> None:
    """A model that calls blue red: its maps of the label look at the object, those of its prediction do not."""
    confused = write_model(tmp_path / "confused.onnx", labels=("red", "blue", "green", "gold"))
    by_label = evaluate(confused, dataset, metrics="all")
    by_prediction = evaluate(confused, dataset, metrics="all", target="predicted")

    assert by_label.value("classification", "top1") == 0
    assert by_label.value("methods", "grad-cam", "top1_loc") == 0
    assert (
        by_prediction.value("methods", "grad-cam", "mean_iou") > by_label.value("methods", "grad-cam", "mean_iou") + 0.1
    )
    for name in ("insertion", "deletion", "average_drop", "agreement_iou"):
        values = [each.value("methods", "grad-cam", name) for each in (by_label, by_prediction)]
        assert values[0] == values[1]
    assert by_prediction.value("classification", "top1") is None
    assert by_prediction.value("methods", "grad-cam", "top1_loc") is None


def test_labels_that_the_model_lacks_are_named(engine: Engine, dataset: DataSet) -> None:
    names = ("dalmatian", "pug", "red")
    records = [replace(each, label=name) for each, name in zip(dataset.records, names * 3, strict=False)]
    other = replace(dataset, labels=("blue", "red", "dalmatian", "pug"), records=records)

    with pytest.raises(OnnxplainError, match=r"dalmatian, pug; its labels: blue, .*--labels FILE.*--target predicted"):
        evaluate(engine, other)
    assert evaluate(engine, other, target="predicted").images == 9
    assert match_labels(engine, replace(other, records=records[2:3])) == {"red": 1}


def test_images_without_a_label_are_counted(engine: Engine, dataset: DataSet) -> None:
    records = [replace(each, label="") if place < 2 else each for place, each in enumerate(dataset.records)]
    with pytest.raises(OnnxplainError, match=r"found 2 images without a label, expected one .*--target predicted"):
        match_labels(engine, replace(dataset, records=records))


def test_labels_may_be_indices(engine: Engine, dataset: DataSet) -> None:
    for label, index in {"0": 0, "3": 3, "red": 1}.items():
        assert match_labels(engine, _relabelled(dataset, label)) == {label: index}
    for label in ("4", "-1", "box:0"):
        with pytest.raises(OnnxplainError, match=f"lacks: {label}"):
            match_labels(engine, _relabelled(dataset, label))


def _relabelled(dataset: DataSet, label: str) -> DataSet:
    return replace(dataset, labels=(label,), records=[replace(each, label=label) for each in dataset.records])


def test_without_boxes_or_box_head_there_are_reasons_and_no_zeros(tmp_path: Path, dataset: DataSet) -> None:
    headless = write_model(tmp_path / "headless.onnx", box=False)
    bare = [Record(record.image, record.label, np.zeros((0, 4)), record.name) for record in dataset.records]
    found = evaluate(headless, replace(dataset, records=bare)).to_json()

    assert found["box"] == {"mean_iou": None, "acc_50": None, "top1_loc": None}
    assert found["reasons"]["box"] == "the model has no box head"
    assert {name for name, value in found["methods"]["grad-cam"].items() if value is not None} == {"empty"}
    assert found["reasons"]["methods"]["grad-cam"]["maxboxacc"] == "no image has a true box"
    assert found["classification"]["top1"] is not None


def test_images_without_a_box_do_not_count(engine: Engine, dataset: DataSet) -> None:
    mixed = list(dataset.records)
    mixed[3] = replace(mixed[3], boxes_xyxy=np.zeros((0, 4), np.float32))
    found = evaluate(engine, replace(dataset, records=mixed)).to_json()
    others = evaluate(engine, replace(dataset, records=mixed[:3] + mixed[4:])).to_json()

    assert found["counts"]["classification"]["top1"] == 10
    assert found["counts"]["methods"]["grad-cam"]["maxboxacc"] == 9
    assert found["methods"]["grad-cam"]["mean_iou"] == others["methods"]["grad-cam"]["mean_iou"]
    assert found["intervals"]["methods"] == others["intervals"]["methods"] | {
        "grad-cam": others["intervals"]["methods"]["grad-cam"]
        | {name: interval for name, interval in found["intervals"]["methods"]["grad-cam"].items() if "agree" in name}
    }


def test_saved_heatmaps_score_as_those_that_were_made(engine: Engine, dataset: DataSet, tmp_path: Path) -> None:
    """WSOL's maps of 224 × 224 give the same hits at every level; what needs pixels of the image, nearly the same."""
    evaluate(engine, dataset, save_heatmaps=tmp_path, output=tmp_path / "out")
    assert len(list((tmp_path / "grad-cam").glob("*.npy"))) == 10
    again = evaluate(engine, dataset, heatmaps={"theirs": tmp_path / "grad-cam"}, output=tmp_path / "again").to_json()

    for row in read_rows(tmp_path / "again"):
        for name in ("maxboxacc", "maxboxacc_v2"):
            assert row["methods"]["theirs"][name] == row["methods"]["grad-cam"][name]
    made, read = again["methods"]["grad-cam"], again["methods"]["theirs"]
    assert read["energy"] == pytest.approx(made["energy"], abs=0.02)
    assert again["reasons"]["methods"]["theirs"]["agreement_iou"] == "the heatmap does not come from this model"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (None, "found no heatmap"),
        (np.zeros((5, 5), np.float32), "(5, 5)"),
        (np.full((224, 224), np.nan, np.float32), "NaN"),
        (np.zeros((224, 224), np.int64), "int64"),
    ],
)
def test_heatmaps_that_cannot_be_used_are_named(
    written: np.ndarray | None, words: str, engine: Engine, dataset: DataSet, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for record in dataset.records:
        np.save(theirs / f"{record.name}.npy", center_gaussian((224, 224)))
    bad = theirs / f"{dataset.records[4].name}.npy"
    bad.unlink()
    if written is not None:
        np.save(bad, written)
    found = evaluate(engine, dataset, (), heatmaps={"theirs": theirs}, output=tmp_path / "out")
    problem = read_rows(tmp_path / "out")[4]["problem"]

    assert (found.images, found.skipped) == (9, 1)
    assert problem["path"] == f"../theirs/{bad.name}"
    assert words in problem["message"]
    with pytest.raises(OnnxplainError, match=bad.name):
        evaluate(engine, dataset, (), heatmaps={"theirs": theirs}, strict=True)
    with pytest.raises(OnnxplainError, match=bad.name):
        evaluate(engine, dataset, (), heatmaps={"theirs": theirs}, output=tmp_path / "out", strict=True)


def test_folders_that_are_not_there_and_names_that_are_taken(engine: Engine, dataset: DataSet, tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match="no folder"):
        evaluate(engine, dataset, heatmaps={"theirs": tmp_path / "nowhere"})
    with pytest.raises(OnnxplainError, match="also a method"):
        evaluate(engine, dataset, heatmaps={"grad-cam": tmp_path})


def test_maps_of_wsol_are_found_by_path_with_suffix(engine: Engine, tmp_path: Path) -> None:
    """The benchmark writes ``<line of image_ids.txt>.npy``, folders and suffix included."""
    names = ["val/a/1.png", "val/b/1.png"]
    for name in names:
        paint(tmp_path / name, (60, 40))
        (tmp_path / "maps" / name).parent.mkdir(parents=True)
        np.save(tmp_path / "maps" / f"{name}.npy", center_gaussian((224, 224)))
    (tmp_path / "image_ids.txt").write_text("\n".join(names))
    (tmp_path / "class_labels.txt").write_text("".join(f"{name},{index}\n" for index, name in enumerate(names)))
    (tmp_path / "localization.txt").write_text("".join(f"{name},5,5,30,30\n" for name in names))
    dataset = open_dataset(tmp_path)
    found = evaluate(engine, dataset, (), heatmaps={"theirs": tmp_path / "maps"}, strict=True)

    assert found.images == 2
    assert ImageIds(dataset.records).spellings(dataset.records[0])[0] == "a/1"


def test_ids_tell_images_and_classes_apart(tmp_path: Path) -> None:
    boxes = np.zeros((0, 4))
    records = [
        Record(tmp_path / "x" / "1.png", "cat", boxes),
        Record(tmp_path / "y" / "1.png", "cat", boxes),
        Record(tmp_path / "y" / "1.png", "dog", boxes),
        Record(tmp_path / "y" / "2.png", "dog", boxes),
        Record(np.zeros((2, 2, 3), np.uint8), "dog", boxes, "made"),
    ]
    ids = ImageIds(records)

    assert [ids.of(record) for record in records] == ["x/1.png", "y/1.png#cat", "y/1.png#dog", "2", "made"]
    assert {"x/1.png", "x/1"} <= set(ids.spellings(records[0]))
    assert not {"1.png", "1"} & set(ids.spellings(records[0]))


def test_an_image_of_several_classes_counts_once_for_each(tmp_path: Path) -> None:
    """Each with its own label and boxes; but the bootstrap draws the image, not the record."""
    engine = write_model(tmp_path / "model.onnx", labels=("cat", "dog", "cow", "owl"))
    dataset = open_dataset(write(tmp_path / "data", FORMATS["csv"]))
    found = evaluate(engine, dataset, output=tmp_path / "out").to_json()
    rows = read_rows(tmp_path / "out")

    assert found["images"] == 3
    assert [(row["image"], row["label"]) for row in rows] == [("a#cat", "cat"), ("a#dog", "dog"), ("b", "cat")]
    plan = make_plan(choose_metrics("localization"), Facts(True, 4, True), [], [], mean_box=False)
    found = sum_up(plan, rows[:2], seed=0)
    results, images = found.results, found.images
    top1 = results[0].estimate
    assert (images, top1.value, top1.low, top1.high) == (2, 0.5, 0.5, 0.5)


def test_bad_images_are_skipped_and_counted(engine: Engine, tmp_path: Path) -> None:
    dataset = write_data(tmp_path / "data", 5)
    path = tmp_path / "data" / "02.png"
    path.write_bytes(path.read_bytes()[:300])
    seen = []
    found = evaluate(
        engine,
        dataset,
        output=tmp_path / "out",
        on_row=lambda done, total, row: seen.append((done, total, "problem" in row)),
    )

    assert (found.images, found.skipped) == (4, 1)
    assert read_rows(tmp_path / "out")[2]["problem"]["path"] == "../data/02.png"
    assert seen == [(1, 5, False), (2, 5, False), (3, 5, True), (4, 5, False), (5, 5, False)]
    with pytest.raises(OnnxplainError, match=r"02\.png"):
        evaluate(engine, dataset, strict=True)
    with pytest.raises(OnnxplainError, match="no usable image"):
        evaluate(engine, replace(dataset, records=dataset.records[2:3]))


def test_a_model_that_gives_nan_leaves_the_image_out(
    engine: Engine, dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = Engine.scores
    calls: list[int] = []

    def break_down(engine: Engine, batch_nchw: np.ndarray) -> np.ndarray:
        calls.append(len(batch_nchw))
        return scores(engine, batch_nchw) * (np.nan if len(calls) == 1 else 1)

    monkeypatch.setattr(Engine, "scores", break_down)
    found = evaluate(engine, dataset, metrics="faithfulness", output=tmp_path)
    problem = read_rows(tmp_path)[0]["problem"]

    assert (found.images, found.skipped) == (9, 1)
    assert problem["path"] == relative_to(dataset.records[0].image, tmp_path)
    assert problem["message"].startswith("insertion: ")


def test_a_complete_folder_is_read_and_the_model_not_run(
    engine: Engine, dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(engine, dataset, METHODS, "all", output=tmp_path).to_json()
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Engine, "run", None)

    assert evaluate(engine, dataset, METHODS, "all", output=tmp_path).to_json() == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written
    assert json.loads(written["summary.json"]) == json.loads(json.dumps(first))
    assert set(written) == {"run.json", "images.jsonl", "images.csv", "summary.json"}


@pytest.mark.parametrize("metrics", ["localization", "all"])
def test_a_folder_gives_the_numbers_of_a_run_without_one(
    metrics: str, engine: Engine, dataset: DataSet, tmp_path: Path
) -> None:
    with_folder = evaluate(engine, dataset, METHODS, metrics, output=tmp_path).to_json()

    assert evaluate(engine, dataset, METHODS, metrics).to_json() == with_folder


def test_the_table_per_image(engine: Engine, dataset: DataSet, tmp_path: Path) -> None:
    found = evaluate(engine, dataset, output=tmp_path).to_json()
    with (tmp_path / "images.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))

    assert [row["image"] for row in rows] == [record.name for record in dataset.records]
    assert np.mean([float(row["grad-cam.iou"]) for row in rows]) == pytest.approx(
        found["methods"]["grad-cam"]["mean_iou"]
    )
    assert np.mean([int(row["box.acc_50"]) for row in rows]) == pytest.approx(found["box"]["acc_50"])
    assert "grad-cam.maxboxacc" not in rows[0]


CHANGES = {
    "another model": lambda asked, tmp_path: {"engine": write_model(tmp_path / "b.onnx", power=1)},
    "other numbers": lambda asked, tmp_path: {
        "dataset": replace(
            asked["dataset"], records=[replace(each, numbers={"age": 3.0}) for each in asked["dataset"].records]
        )
    },
    "other labels": lambda asked, tmp_path: {"engine": Engine(asked["engine"].path, labels=LABELS[::-1])},
    "fewer images": lambda asked, tmp_path: {
        "dataset": replace(asked["dataset"], records=asked["dataset"].records[:9])
    },
    "another method": lambda asked, tmp_path: {"methods": ("eigen-cam",)},
    "another option": lambda asked, tmp_path: {"options": {"layer": "stem"}},
    "other metrics": lambda asked, tmp_path: {"metrics": "all"},
    "another target": lambda asked, tmp_path: {"target": "predicted"},
    "another seed": lambda asked, tmp_path: {"seed": 1},
    "heatmaps saved": lambda asked, tmp_path: {"save_heatmaps": tmp_path},
    "a training split": lambda asked, tmp_path: {"train": write_data(tmp_path / "train", 4)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_of_another_evaluation_is_refused(
    change: str, engine: Engine, dataset: DataSet, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    asked = {"engine": engine, "dataset": dataset, "methods": ("grad-cam",), "output": output}
    evaluate(**asked)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(OnnxplainError, match="found results with"):
        evaluate(**asked | CHANGES[change](asked, tmp_path))
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_moved_data_is_the_same_data(engine: Engine, tmp_path: Path) -> None:
    first = evaluate(engine, write_data(tmp_path / "here", 4), output=tmp_path / "out")
    again = evaluate(engine, write_data(tmp_path / "there", 4), output=tmp_path / "out")

    assert first.to_json() == again.to_json()


def test_generated_images_are_told_apart_without_being_drawn(engine: Engine, tmp_path: Path) -> None:
    dataset = write_data(tmp_path / "data", 12)
    evaluate(engine, mosaics(dataset, 3, seed=0), target="predicted", output=tmp_path / "out")

    assert evaluate(engine, mosaics(dataset, 3, seed=0), target="predicted", output=tmp_path / "out").images == 3
    with pytest.raises(OnnxplainError, match="found results with dataset"):
        evaluate(engine, mosaics(dataset, 3, seed=1), target="predicted", output=tmp_path / "out")


def test_options_reach_the_methods_that_take_them(engine: Engine, dataset: DataSet) -> None:
    found = evaluate(engine, dataset, ("eigen-cam", "rise"), options={"masks": 64, "seed": 3})
    heatmaps = [RISE(engine, masks=64, seed=3)(record.load(), record.label) for record in dataset.records]
    boxes = np.concatenate([each.boxes().xyxy[:1] for each in heatmaps])
    overlaps = paired_iou(boxes, np.concatenate([record.boxes_xyxy for record in dataset.records]))

    assert found.identity["methods"] == {"eigen-cam": {}, "rise": {"masks": 64, "seed": 3}}
    assert found.value("methods", "rise", "mean_iou") == pytest.approx(overlaps.mean(), abs=1e-3)


def test_a_method_that_the_user_ended_early_leaves_no_row(
    engine: Engine, dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RISE answers Ctrl-C with the map so far: not the map that was asked for."""
    calls = []

    def interrupt(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) > 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(
            engine,
            dataset,
            ("rise",),
            options={"masks": 256, "batch_size": 64},
            output=tmp_path,
            progress=interrupt,
        )
    done = len(read_rows(tmp_path))
    assert 0 < done < 10
    whole = evaluate(engine, dataset, ("rise",), options={"masks": 256, "batch_size": 64}, output=tmp_path)
    assert whole.to_json() == evaluate(engine, dataset, ("rise",), options={"masks": 256, "batch_size": 64}).to_json()


@pytest.mark.parametrize("other", ["same", "larger"])
def test_the_sanity_check_wants_the_same_network_with_other_weights(
    other: str, engine: Engine, dataset: DataSet, tmp_path: Path
) -> None:
    if other == "same":
        sanity = Engine(engine.path)
    else:
        from onnxplain.demo import MODEL

        sanity = Engine(MODEL)
    with pytest.raises(OnnxplainError, match="shuffle"):
        evaluate(engine, dataset, sanity=sanity)


def test_sanity_is_measured_beside_any_metrics(engine: Engine, dataset: DataSet, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.onnx", power=1)
    found = evaluate(engine, dataset, sanity=other)

    assert 0 < found.value("methods", "grad-cam", "sanity") <= 1
    assert "sanity" not in found.to_json()["baselines"]["center_gaussian"]


SLOW = """
import sys, time
from onnxplain import Engine
from onnxplain.data import open_dataset
from onnxplain.evaluation import evaluate

model, data, output = sys.argv[1:]
evaluate(Engine(model), open_dataset(data), output=output, on_row=lambda *_: time.sleep(0.02))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_run_goes_on_to_the_same_numbers(engine: Engine, tmp_path: Path) -> None:
    """Killed twice with SIGKILL, at whatever moment: every image stands there once, and all files are the same."""
    dataset = write_data(tmp_path / "data", 40)
    images = tmp_path / "out" / "images.jsonl"
    arguments = [
        sys.executable,
        "-c",
        SLOW,
        str(engine.path),
        str(tmp_path / "data" / "boxes.csv"),
        str(tmp_path / "out"),
    ]
    for least in (5, 20):
        process = subprocess.Popen(arguments, env=os.environ)
        while process.poll() is None and (not images.exists() or images.read_bytes().count(b"\n") < least):
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert least <= images.read_bytes().count(b"\n") < 40
    images.write_bytes(images.read_bytes() + b'{"index": 4')
    resumed = evaluate(engine, dataset, output=tmp_path / "out").to_json()
    whole = evaluate(engine, dataset, output=tmp_path / "whole").to_json()

    assert resumed == whole
    assert [row["index"] for row in read_rows(tmp_path / "out")] == list(range(40))
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
