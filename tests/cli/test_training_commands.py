"""`train` and `export`: checkpoints and factories become explainable files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from onnxplain import Engine
from onnxplain.contract import GRAY_PRESETS, PRESETS, BoxSpec, Preprocessing
from onnxplain.explainers import localize
from onnxplain.training.checkpoint import load_checkpoint, save_checkpoint
from onnxplain.training.localizer import Localizer, LocalizerConfig
from onnxplain.training.loop import TrainingProgress
from onnxplain.training.score import LocalizationScore
from onnxplain.training.training import Training, TrainingReport
from tests.cli.conftest import write_photo
from tests.training.shapes import NAMES, write_shapes
from tests.training.tagged import write_tagged

PREPROCESSING = Preprocessing("rgb", 1 / 255, (0.5,) * 3, (0.25,) * 3, resize="stretch")

FACTORY = """
import torch

def build():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )

class Localizer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Conv2d(1, 4, 3)
        self.label, self.box = torch.nn.Linear(4, 3), torch.nn.Linear(4, 4)

    def forward(self, image):
        pooled = torch.relu(self.features(image)).mean(dim=(2, 3))
        return self.label(pooled), self.box(pooled)

def broken():
    raise ValueError("no such\\nnetwork")
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    torch.manual_seed(0)
    config = LocalizerConfig(classes=3, size_hw=(16, 16), widths=(4, 6), box_channels=2)
    save_checkpoint(path, Localizer(config).eval(), ("a", "b", "c"), PREPROCESSING)
    return path


@pytest.fixture
def reached(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    """Trainings are over at once: they copy a checkpoint and claim to have reached that accuracy."""

    def claim(accuracy: float) -> None:
        def run(training: Training, path: Path, *, resume: bool, restart: bool, progress) -> TrainingReport:
            loaded = load_checkpoint(checkpoint)
            save_checkpoint(path, loaded.module, loaded.labels, loaded.preprocessing)
            score = LocalizationScore(accuracy, 0.8, 0.75, 1000, 0.9)
            epochs = training.loop.epochs
            for epoch in range(1, epochs + 1):
                progress(TrainingProgress(epoch, epochs, 1, 2, 0.5, 0.9, 0.7))
                progress(TrainingProgress(epoch, epochs, 2, 2, 0.4, 0.91, 0.71, score))
            return TrainingReport(Path(path), 1234, training.loop.seed, epochs, 60.0, score, score)

        monkeypatch.setattr(Training, "run", run)
        monkeypatch.setattr("onnxplain.training.digits.VALIDATION_IMAGES", 2)

    return claim


@pytest.mark.parametrize(("accuracy", "status"), [(0.951, 0), (0.949, 1)])
def test_train_says_what_it_reached(accuracy, status, run, reached, tmp_path):
    reached(accuracy)
    out = tmp_path / "new" / "digits.pt"
    result = run("train", "digits", "-o", out, "--epochs", 2, "--seed", 7)
    assert (result.exit_code, result.stderr) == (status, "")
    lines = result.stdout.splitlines()
    for number, line in enumerate(lines[:2], 1):
        assert line.startswith(f"epoch {number}/2  loss 0.400  accuracy 91.0%  IoU 0.710")
    assert "1234 parameters" in lines[2]
    assert "seed 7" in lines[2]
    assert f"1000 unseen images: accuracy {accuracy:.1%}, mean IoU 0.800" in lines[3]
    assert load_checkpoint(out).labels == ("a", "b", "c")


def test_train_to_onnx_exports_at_once(run, reached, checkpoint, tmp_path):
    reached(0.96)
    result = run("train", "digits", "-o", tmp_path / "digits.onnx", "--epochs", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "digits.pt").is_file()
    engine = Engine(tmp_path / "digits.onnx")
    assert engine.spec.labels == ("a", "b", "c")
    assert [layer.name for layer in engine.spec.layers] == ["features"]
    assert engine.spec.input.preprocessing == PREPROCESSING
    # The file predicts what the module does.
    image = write_photo(tmp_path / "a.png", (16, 16))
    with torch.no_grad():
        logits, _ = load_checkpoint(checkpoint).module(torch.from_numpy(engine.preprocess(image)))
    expected = torch.softmax(logits, dim=1).numpy()
    np.testing.assert_allclose(engine.scores(engine.preprocess(image)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("flags", "task", "columns"),
    [
        ([], "localization", ["epoch 2/2  loss", "IoU", "accuracy"]),
        (["--supervision", "labels"], "classification", ["epoch 2/2  loss", "accuracy"]),
    ],
)
def test_train_on_photos_says_what_was_left_out_and_what_was_reached(flags, task, columns, run, tmp_path):
    source = write_shapes(tmp_path / "shapes", 21, boxes=1)
    source.write_text(source.read_text() + "ghost.png,red,1,1,5,5\n05.png,red,0,0,999,5\n")
    out = tmp_path / "shapes.onnx"
    result = run("train", source, "-o", out, "--epochs", 2, "--size", "32x48", "--batch-size", 8, *flags)
    assert result.exit_code == 0
    problems = result.stderr.splitlines()
    for row in (23, 24):
        assert any(line.startswith(f"left out: {source}:{row}: ") for line in problems[:2])
    assert problems[2:] == ["left out: 2 problems, listed above"]
    assert f"{source}: 2 classes; images: train 14, validation 3, test 4" in result.stdout
    (epoch,) = (line for line in result.stdout.splitlines() if line.startswith("epoch 2/2"))
    for column in columns:
        assert column in epoch
    assert ("IoU" in epoch) == (not flags)
    assert "on 4 unseen images: accuracy" in result.stdout
    assert "baseline (most frequent label, mean box): accuracy 50.0%, mean IoU" in result.stdout
    assert "boxes from the heatmaps, no box head: accuracy" in result.stdout
    engine = Engine(out)
    assert engine.spec.labels == NAMES
    assert engine.spec.task == task
    assert (engine.spec.box is None) == bool(flags)
    assert engine.spec.input.size_hw == (32, 48)
    prediction = localize(engine, tmp_path / "shapes" / "03.png")[0]
    assert prediction.box_source in ("head", "cam", None)
    assert (prediction.box_source == "head") == (not flags)


@pytest.mark.parametrize(
    ("flags", "says", "reached", "baseline", "labels"),
    [
        ([], "2 labels, 1.0 per image", "mean average precision", "the same labels for each image", NAMES),
        (["--column", "age"], "numbers age, ", "mean absolute error", "the median of the training images", ("age",)),
    ],
    ids=["labels", "number"],
)
def test_train_on_labels_or_numbers_as_the_file_says(flags, says, reached, baseline, labels, run, tmp_path):
    source = write_tagged(tmp_path / "tagged", 20)
    lists = [tmp_path / name for name in ("train.txt", "validation.txt", "test.txt")]
    for path, numbers in zip(lists, (range(12), range(12, 16), range(16, 20)), strict=True):
        path.write_text("".join(f"{number:02}\n" for number in numbers))
    divided = [argument for path in lists for argument in ("--split", path)]
    result = run("train", source, "-o", tmp_path / "t.pt", "--epochs", 2, "--size", "16x24", *divided, *flags)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ("left out: 1 without a number in age\n" if flags else "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{source}: {says}")
    assert lines[0].endswith(f"images: train {11 if flags else 12}, validation 4, test 4")
    assert f"validation: {reached} " in next(line for line in lines if line.startswith("epoch 2/2"))
    assert lines[-2].startswith(f"on 4 unseen images: {reached} ")
    assert lines[-1].startswith(f"  baseline ({baseline}): {reached} ")
    assert load_checkpoint(tmp_path / "t.pt").labels == labels
    assert (tmp_path / "t.split" / "test.txt").read_text().splitlines() == [f"{n}.png" for n in range(16, 20)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits", "--strict"], ["--strict", "not digits"]),
        (["digits", "--no-flip"], ["--no-flip", "not digits"]),
        (["{shapes}", "--images-per-epoch", "64"], ["--images-per-epoch is for digits"]),
        (["{shapes}", "--split", "one.txt"], ["1 lists", "expected two"]),
        (["{shapes}", "--size", "100x100"], ["100x100", "multiples of 8"]),
        (["{shapes}", "--size", "big"], ["big", "224x224"]),
        (["{shapes}", "--backbone", "resnet18"], ["resnet18", "timm:NAME"]),
        (["{shapes}", "--pretrained"], ["small", "no pretrained weights"]),
        (["{shapes}", "--resume"], ["model.pt.state", "no training to resume"]),
        (["{shapes}", "--images", "nowhere"], ["nowhere"]),
        (["digits", "--column", "age"], ["--column", "not digits"]),
        (["digits", "--supervision", "number"], ["digits", "supervision number", "expected boxes or labels"]),
        (["{tagged}", "--column", "size"], ["columns of numbers age", "'size'", "--column"]),
        (["{tagged}", "--column", "age", "--supervision", "labels"], ["'age'", "only for number"]),
        (["{tagged}", "--supervision", "boxes"], ["labels but no boxes"]),
        (["{shapes}", "--supervision", "number"], ["columns of numbers none"]),
        (["{bad}", "--strict"], ["boxes.csv:12", "ghost.png"]),
        (["nowhere"], ["nowhere", "no such file"]),
        (["{text}"], ["notes.txt", "no known data set"]),
    ],
)
def test_trainings_that_cannot_begin_say_why_in_one_line(arguments, words, run, tmp_path):
    paths = {
        "shapes": write_shapes(tmp_path / "shapes", 10),
        "bad": write_shapes(tmp_path / "bad", 10),
        "text": tmp_path / "notes.txt",
        "tagged": write_tagged(tmp_path / "tagged", 10),
    }
    paths["bad"].write_text(paths["bad"].read_text() + "ghost.png,red,1,1,5,5\n")
    paths["text"].write_text("no data set")
    result = run("train", *(argument.format(**paths) for argument in arguments), "-o", tmp_path / "model.pt")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert not list(tmp_path.glob("model.*"))


def test_export_a_checkpoint(run, checkpoint, tmp_path):
    out = tmp_path / "out.onnx"
    arguments = ["--layer", "features.0", "--mean", "0", "--json"]
    result = run("export", checkpoint, "-o", out, *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert [check["reference"] for check in report["checks"]["layers"]] == ["torch.autograd"]
    spec = Engine(out).spec
    assert [layer.name for layer in spec.layers] == ["features.0"]
    assert spec.input.preprocessing.mean == (0, 0, 0)
    assert spec.input.preprocessing.std == PREPROCESSING.std


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module ``networks.py`` in it."""
    (tmp_path / "onnxplain_test_networks.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_export_a_factory_with_weights(factory, run):
    weights = {"module.0.weight": torch.ones(4, 3, 3, 3), "module.0.bias": torch.zeros(4)}
    weights |= {"module.4.weight": torch.arange(12.0).reshape(3, 4), "module.4.bias": torch.zeros(3)}
    torch.save({"state_dict": weights, "epoch": 3}, factory / "weights.th")
    source = "onnxplain_test_networks:build"
    result = run("export", source, "-o", "out.onnx", "--size", "8x10", "--weights", "weights.th", "--preset", "raw")
    assert (result.exit_code, result.stderr) == (0, "")
    engine = Engine(factory / "out.onnx")
    assert engine.spec.input.size_hw == (8, 10)
    assert engine.spec.input.preprocessing == PRESETS["raw"]
    np.testing.assert_array_equal(engine.cam_weights(), np.arange(12, dtype=np.float32).reshape(3, 4))


def test_export_a_factory_with_a_box_head(factory, run):
    """What is not stated is what is assumed of a localizer of grey images: its whole image, stretched."""
    flags = ["--size", "8x10", "--channels", "gray", "--scale", "1", "--box-format", "xyxy", "--box-units", "pixels"]
    result = run("export", "onnxplain_test_networks:Localizer", "-o", "out.onnx", *flags)
    assert (result.exit_code, result.stderr) == (0, "")
    spec = Engine(factory / "out.onnx").spec
    assert spec.input.preprocessing == replace(GRAY_PRESETS["raw"], resize="stretch")
    assert spec.box == BoxSpec("xyxy", "pixels")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["onnxplain_test_networks:broken", "--size", "8x8"], ["ValueError: no such network"]),
        (["onnxplain_test_networks:nothing", "--size", "8x8"], ["AttributeError", "nothing"]),
        (["onnxplain_test_networks:build", "--size", "8x8", "--layout", "nhwc"], ["nhwc", "nchw"]),
        (["onnxplain_test_networks:build", "--size", "8x8", "--weights", "none.th"], ["none.th", "cannot read"]),
        (["onnxplain_test_networks:build", "--size", "8x8", "--weights", "text.th"], ["text.th", "state dict"]),
        (["onnxplain_test_networks:build", "--size", "8x8", "--weights", "other.th"], ["other.th", "do not fit"]),
        (["other.th"], ["other.th", "expected a checkpoint"]),
        (["{checkpoint}", "--size", "8x8"], ["16x16", "--size"]),
        (["{checkpoint}", "--weights", "other.th"], ["--weights", "leave it out"]),
        (["{checkpoint}", "--layer", "nonsense"], ["nonsense", "features"]),
    ],
)
def test_bad_sources(arguments, words, factory, checkpoint, run):
    (factory / "text.th").write_text("this is no state dict")
    torch.save({"weight": torch.zeros(1)}, factory / "other.th")
    result = run("export", *(argument.format(checkpoint=checkpoint) for argument in arguments), "-o", "out.onnx")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert not (factory / "out.onnx").exists()
