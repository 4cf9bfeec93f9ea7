"""`evaluate`: the demo model's figures, data sets and their parts, what is printed, what is refused."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from onnxplain import Engine
from onnxplain.data import open_dataset, split
from onnxplain.demo import MODEL
from onnxplain.evaluation import METRICS
from tests.evaluation.blue_and_red import write_model
from tests.evaluation.test_mask_pointing import write_colours, write_masks
from tests.training.shapes import write_shapes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.onnx sees blue and red; data/boxes.csv has twelve photos of them."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_model(folder / "model.onnx")
    write_shapes(folder / "data", 12)
    return folder


@pytest.fixture
def asked(folder: Path, tmp_path: Path) -> list[object]:
    """The words of a plain evaluation."""
    return ["evaluate", folder / "model.onnx", folder / "data" / "boxes.csv", "-o", tmp_path / "out"]


def test_the_demo_model_on_unseen_digits(run, tmp_path):
    """As many as take seconds; all 1,000 give 97.3 % and a mean IoU of 0.8675."""
    result = run("evaluate", MODEL, "digits", "--limit", 50, "-m", "cam", "--json", "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["images"], found["dataset"]) == (50, "50 of digits (test)")
    assert found["classification"]["top1"] > 0.9
    assert 0.8 < found["box"]["mean_iou"] < 0.93
    low, high = found["intervals"]["box"]["mean_iou"]
    assert low < 0.8675 < high
    assert found["methods"]["cam"]["maxboxacc"] > found["baselines"]["center_gaussian"]["maxboxacc"] + 0.2


def test_a_table_with_every_number_explained(asked, run, tmp_path):
    result = run(*asked, "-m", "grad-cam", "-m", "eigen-cam", "--metrics", "all")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert lines[0].endswith("boxes: 12 images")
    for column in ("model", "grad-cam", "eigen-cam", "centre box", "centre Gaussian"):
        assert column in lines[2]
    row = next(line for line in lines if line.startswith("MaxBoxAcc %"))
    assert f"{100 * summary['methods']['grad-cam']['maxboxacc']:.1f} [" in row
    for metric in METRICS:
        if metric.name not in ("top5", "sanity") and metric.groups != ("masks",):
            assert metric.definition in result.stdout
    assert "no mean box: no training split was named" in lines
    assert "no top-5: the model has no more than five classes" in lines
    assert "95 % interval" in result.stdout


def test_a_narrow_terminal_has_intervals_below_the_numbers(asked, run, monkeypatch):
    wide = run(*asked).stdout
    monkeypatch.setattr("onnxplain.cli.output.evaluation_table._fits", lambda columns, rows: False)
    narrow = run(*asked).stdout
    assert max(map(len, narrow.splitlines()[2:20])) < max(map(len, wide.splitlines()[2:12])) * 0.8
    assert sorted(narrow.replace("─", "").split()) == sorted(wide.replace("─", "").split())


@pytest.mark.parametrize("width", [60, 80])
def test_the_table_fits_a_narrow_terminal_and_loses_no_number(width, asked, run, monkeypatch):
    words = [*asked, "-m", "grad-cam", "-m", "xgrad-cam", "-m", "eigen-grad-cam", "--metrics", "all"]
    wide = run(*words).stdout
    monkeypatch.setattr("onnxplain.cli.output.evaluation_table._room", lambda: width)
    narrow = run(*words).stdout
    table, other = (text[: text.index("top-1:")].replace("─", "") for text in (narrow, wide))
    assert max(map(len, table.splitlines()[2:])) <= width
    intervals = re.compile(r"\[-?[\d.]+, -?[\d.]+\]")
    assert Counter(intervals.findall(table)) == Counter(intervals.findall(other))
    assert all(name in table for name in ("grad-cam", "xgrad-cam", "eigen-grad-cam", "centre Gaussian"))


def test_json_is_the_summary_and_nothing_else(asked, run, tmp_path):
    result = run(*asked, "--json")
    assert json.loads(result.stdout) == json.loads((tmp_path / "out" / "summary.json").read_text())
    again = run(*asked, "--json")
    assert (again.exit_code, again.stdout) == (0, result.stdout)
    assert run(*asked).exit_code == 0


def test_parts_are_those_of_training(asked, run, folder):
    dataset = open_dataset(folder / "data" / "boxes.csv")
    test = split(dataset, (0.8, 0.2), 4)[1]
    result = run(*asked, "--split", "test", "--train-split", "train", "--seed", 4, "--json")
    found = json.loads(result.stdout)
    assert found["images"] == len(test.records)
    assert found["baselines"]["mean_box"]["mean_iou"] > 0.2


def test_lists_of_names(asked, run, folder, tmp_path):
    (tmp_path / "test.txt").write_text("00.png\n03\n05.png\n99.png\n")
    (tmp_path / "train.txt").write_text("01.png\n02.png\n")
    flags = ["--split", tmp_path / "test.txt", "--train-split", tmp_path / "train.txt", "--json"]
    result = run(*asked, *flags)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"left out: {tmp_path / 'test.txt'}:4: found '99.png'")
    found = json.loads(result.stdout)
    assert (found["images"], found["skipped"]) == (3, 1)
    assert found["baselines"]["mean_box"]["mean_iou"] is not None
    assert run(*asked, *flags, "--strict").exit_code == 2


def test_a_division_of_training_is_found_again(asked, run, folder, tmp_path):
    """What `train` tested on is what its lists name; the scores agree."""
    pytest.importorskip("torch", reason="needs the train extra")
    model = tmp_path / "trained.onnx"
    source = folder / "data" / "boxes.csv"
    trained = run("train", source, "-o", model, "--epochs", 1, "--size", "32x48", "--batch-size", 4)
    assert trained.exit_code == 0
    lists = tmp_path / "trained.split"
    assert f"{lists}: lists of the images of each part" in trained.stdout
    names = {part: (lists / f"{part}.txt").read_text().split() for part in ("train", "validation", "test")}
    assert sorted(name for part in names.values() for name in part) == [f"{number:02}.png" for number in range(12)]
    flags = ["--split", lists / "test.txt", "--train-split", lists / "train.txt", "--json", "-m", "cam", "--strict"]
    found = json.loads(run("evaluate", model, source, "-o", tmp_path / "out", *flags).stdout)
    assert found["images"] == len(names["test"])
    (said,) = (line for line in trained.stdout.splitlines() if line.startswith(f"on {found['images']} unseen images"))
    assert f"accuracy {found['classification']['top1']:.1%}, mean IoU {found['box']['mean_iou']:.3f}" in said
    (constant,) = (line for line in trained.stdout.splitlines() if "baseline (most frequent label, mean box)" in line)
    assert f"mean IoU {found['baselines']['mean_box']['mean_iou']:.3f}" in constant


def test_mosaics_and_a_limit(asked, run):
    found = json.loads(run(*asked, "--mosaics", 6, "--limit", 4, "--json", "--target", "predicted").stdout)
    assert (found["images"], found["dataset"]) == (4, "4 of 6 mosaics of boxes")
    assert found["classification"] == {"top1": None, "top5": None}


def test_heatmaps_go_out_and_come_in(asked, run, folder, tmp_path):
    assert run(*asked, "--save-heatmaps", tmp_path / "maps").exit_code == 0
    saved = np.load(tmp_path / "maps" / "grad-cam" / "00.npy")
    assert (saved.dtype, saved.shape) == (np.float32, (224, 224))
    asked[-1] = tmp_path / "again"
    result = run(*asked, "--heatmaps", f"theirs={tmp_path / 'maps' / 'grad-cam'}", "--json")
    found = json.loads(result.stdout)
    assert list(found["methods"]) == ["theirs"]
    before = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["methods"]["theirs"]["maxboxacc"] == before["methods"]["grad-cam"]["maxboxacc"]


def test_problems_go_to_standard_error_and_are_counted(run, folder, tmp_path):
    source = write_shapes(tmp_path / "data", 6)
    source.write_text(source.read_text() + "ghost.png,red,1,1,5,5\n")
    damaged = tmp_path / "data" / "03.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    words = ["evaluate", folder / "model.onnx", source, "-o", tmp_path / "out"]
    result = run(*words, "--json")
    assert result.exit_code == 0
    assert [line.split(": ")[:2] for line in result.stderr.splitlines()] == [
        ["left out", f"{source}:8"],
        ["left out", str(damaged)],
    ]
    found = json.loads(result.stdout)
    assert (found["images"], found["skipped"]) == (5, 2)
    assert "5 images, 2 skipped" in run(*words).stdout
    strict = run(*words, "--strict")
    assert (strict.exit_code, strict.stderr.count("\n")) == (2, 1)


def test_a_model_without_gradients_or_layers(run, models, folder, tmp_path):
    """A plain file: black-box methods alone, and classes by index."""
    words = ["evaluate", models / "plain.onnx", folder / "data" / "boxes.csv", "-o", tmp_path / "out"]
    result = run(*words, "--target", "predicted")
    assert result.exit_code == 2
    assert "no feature map" in result.stderr
    assert "rise works on this file: -m rise" in result.stderr
    assert not (tmp_path / "out").exists()
    result = run(*words, "--target", "predicted", "-m", "rise", "--masks", 64, "--limit", 2, "--json")
    assert json.loads(result.stdout)["images"] == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--split", "nowhere.txt"], ["nowhere.txt", "train, validation, test, all"]),
        (["--split", "validation"], ["validation", "train or test"]),
        (["--train-split", "train"], ["also in --train-split"]),
        (["--heatmaps", "theirs"], ["theirs", "NAME=DIR"]),
        (["--heatmaps", "a=b"], ["heatmaps a", "no folder"]),
        (["--heatmaps", "a=b", "--heatmaps", "a=c"], ["each name once"]),
        (["-m", "grad-cma"], ["grad-cma", "grad-cam"]),
        (["--metrics", "speed"], ["speed", "localization"]),
        (["--target", "blue"], ["blue", "predicted"]),
        (["--format", "voc"], ["invalid XML"]),
        (["--images", "nowhere"], ["nowhere"]),
        (["--sanity", "nowhere.onnx"], ["nowhere.onnx"]),
        (["--sanity", "{model}"], ["the model itself", "shuffled"]),
        (["--labels", "{labels}"], ["blue, red", "--labels", "--target predicted"]),
        (["--layer", "nonsense"], ["nonsense"]),
        (["--limit", "0"], ["--limit"]),
        (["--mosaics", "3"], ["blue", "at least 3"]),
    ],
)
def test_wrong_usage_is_one_line_and_nothing_is_written(flags, words, run, folder, tmp_path):
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\ndog\n")
    (tmp_path / "two").mkdir()
    source = write_shapes(tmp_path / "two", 4) if "--mosaics" in flags else folder / "data" / "boxes.csv"
    given = [each.format(model=folder / "model.onnx", labels=tmp_path / "labels.txt") for each in flags]
    result = run("evaluate", folder / "model.onnx", source, "-o", tmp_path / "out", *given)
    assert result.exit_code == 2
    assert (result.stderr.count("\n"), result.stdout) == (1, "")
    for word in words:
        assert word in result.stderr
    assert not (tmp_path / "out").exists()


def test_digits_cannot_be_their_own_baseline(run, tmp_path):
    words = ["evaluate", MODEL, "digits", "-o", tmp_path / "out"]
    result = run(*words, "--split", "train", "--train-split", "train")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "the same digits" in result.stderr
    result = run(*words, "--limit", 3, "--train-split", "validation", "--json", "--strict")
    assert json.loads(result.stdout)["baselines"]["mean_box"]["mean_iou"] > 0


def test_results_of_another_model_are_refused(asked, run, folder, tmp_path):
    assert run(*asked).exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write_model(tmp_path / "other.onnx", power=1)
    asked[1] = tmp_path / "other.onnx"
    result = run(*asked)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "found results with model" in result.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_interruption_is_130_and_the_same_command_goes_on(asked, run, tmp_path, monkeypatch):
    predict = Engine.predict
    calls = []

    def interrupt(engine: Engine, images: object) -> object:
        calls.append(images)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return predict(engine, images)

    monkeypatch.setattr(Engine, "predict", interrupt)
    result = run(*asked)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "run the same command to continue" in result.stderr
    assert len((tmp_path / "out" / "images.jsonl").read_text().splitlines()) == 4
    assert not (tmp_path / "out" / "summary.json").exists()
    for done in (4, 12):
        result = run(*asked)
        assert result.exit_code == 0
        assert f"{tmp_path / 'out'}: continued, {done} of 12 images were measured before" in result.stderr
    assert len(calls) == 5 + 12 - 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_command_goes_on_to_the_same_summary(run, tmp_path):
    words = ["evaluate", str(MODEL), "digits", "--limit", "24", "-m", "cam"]
    images = tmp_path / "out" / "images.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "onnxplain.cli.main", *words, "-o", str(tmp_path / "out")])
    while process.poll() is None and (not images.exists() or images.read_bytes().count(b"\n") < 6):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert run(*words, "-o", tmp_path / "out").exit_code == 0
    assert run(*words, "-o", tmp_path / "whole").exit_code == 0
    for name in ("summary.json", "images.jsonl", "images.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_shuffled_file_as_a_sanity_check(run, tmp_path):
    pytest.importorskip("onnx", reason="needs the export extra")
    shuffled = tmp_path / "shuffled.onnx"
    assert run("instrument", MODEL, "-o", shuffled, "--shuffle-weights", 0).exit_code == 0
    words = ["evaluate", MODEL, "digits", "--limit", 6, "-m", "cam", "-o", tmp_path / "out", "--sanity", shuffled]
    found = json.loads(run(*words, "--metrics", "faithfulness", "--json").stdout)
    assert -1 <= found["methods"]["cam"]["sanity"] < 0.7


def test_a_folder_of_masks(tmp_path, run):
    write_colours(tmp_path / "model.onnx", "mask")
    folder = write_masks(tmp_path / "data") / "SegmentationClass"
    command = ("evaluate", tmp_path / "model.explainable.onnx", folder, "-o", tmp_path / "results")
    found = run(*command, "--json")
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["methods"]["grad-cam"]["mask_pointing"] == 1
    assert "pointing (mask)" in run(*command).stdout
