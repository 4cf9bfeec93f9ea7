"""The measured models: the float32 form of an asset answers as the asset does, and bases are written first."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks import subjects
from benchmarks.subject_models import PREPROCESSING, write_asset
from benchmarks.subjects import SUBJECTS, describe, write_missing
from onnxplain import Engine, load_image
from onnxplain.contract import PRESETS

# How the assets themselves are asked, the step of their output, and its rounding: to a uint8, to float16.
ORIGINALS = {"mobilenetv1": (PRESETS["raw"], 1 / 256, 1 / 256), "squeezenet": (PRESETS["caffe"], 1.0, 2e-3)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(subjects, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ORIGINALS)
def test_an_asset_in_float32_scores_as_it_did(name: str, assets: Path) -> None:
    subject = SUBJECTS[name]
    subject.folder.mkdir()
    files = write_asset(subject)
    own, step, tolerance = ORIGINALS[name]
    original = Engine(assets / "models" / str(subject.asset), preprocessing=own)
    photos = [load_image(assets / "images" / photo) for photo in ("both_dogcat.png", "ort_daisy.jpg")]

    explainable = Engine(subject.folder / files["explainable"])
    assert explainable.spec.input.preprocessing == PREPROCESSING[subject.preset]
    session = ort.InferenceSession(str(subject.folder / files["scores"]), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert entry.type == "tensor(float)" and len(session.get_outputs()) == 1
    (scores,) = session.run(None, {entry.name: explainable.preprocess(photos)})
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    (expected,) = original.run(original.preprocess(photos), [original.class_output])
    np.testing.assert_allclose(scores, expected.reshape(2, -1) * step, rtol=0, atol=tolerance)


def test_a_missing_asset_is_a_reason(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(subjects, "ASSETS", folder / "nowhere")
    reasons = write_missing(["mobilenetv1"])
    assert reasons == {
        "mobilenetv1": f"no ../shared/assets/models/{SUBJECTS['mobilenetv1'].asset} beside the repository"
    }


def test_a_network_is_written_once_and_before_its_other_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def run(command: list[str], **_options: object) -> SimpleNamespace:
        written.append(command[-1])
        return SimpleNamespace(returncode=1, stderr="Traceback\nValueError: no room", stdout="")

    monkeypatch.setattr(subjects.subprocess, "run", run)
    reasons = write_missing(["resnet50-stem", "resnet50", "resnet50-stem"])
    assert written == ["resnet50", "resnet50-stem"]
    assert reasons["resnet50"] == "ValueError: no room"


def test_a_description_names_files_by_their_whole_path(folder: Path) -> None:
    subject = SUBJECTS["resnet50-stem"]
    subject.folder.mkdir()
    stored = {"files": ["onnx", "weights"], "onnx": "../resnet50/original.onnx", "weights": None, "target": 3}
    (subject.folder / "subject.json").write_text(json.dumps(stored))
    model = describe(subject)
    assert Path(model["onnx"]).resolve() == (folder / "resnet50" / "original.onnx").resolve()
    assert model["weights"] is None and model["target"] == 3 and len(model["photos"]) == subjects.PHOTOS
