"""The models that are measured, with one input and one class each; written once, by `subject_files.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import ROOT

FOLDER = ROOT / "runs" / "bench" / "models"
ASSETS = ROOT.parent / "shared" / "assets"
# A subject written by other code than this is written again.
REVISION = 1
PHOTOS = 32
BATCH = 16


@dataclass(frozen=True)
class Subject:
    """A model: `architecture` is built in torch with random weights, `asset` a file of ../shared/assets.

    `layer`: the torch module whose output the CAM family looks at. `as_is`: the asset with its own input and output
    types, for what is measured against the original file; else it is made float32, NCHW, of any batch.
    """

    name: str
    architecture: str | None = None
    layer: str | None = None
    asset: str | None = None
    preset: str = "imagenet"
    as_is: bool = False

    @property
    def folder(self) -> Path:
        """Where its files lie: weights, ONNX files, inputs, and `subject.json`, which says what they are."""
        return FOLDER / self.name

    @property
    def missing(self) -> str | None:
        """Why it cannot be written on this machine, in one line."""
        if self.asset is not None and not (ASSETS / "models" / self.asset).exists():
            return f"no ../shared/assets/models/{self.asset} beside the repository"
        return None


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("resnet50", "resnet50", "layer4"),
        Subject("resnet50-layer3", "resnet50", "layer3"),
        Subject("resnet50-layer2", "resnet50", "layer2"),
        Subject("resnet50-stem", "resnet50", "relu"),
        Subject("mobilenetv2", "mobilenet_v2", "features"),
        Subject("mobilenetv2-middle", "mobilenet_v2", "features.6"),
        Subject("efficientnet_b0", "efficientnet_b0", "features"),
        Subject("efficientnet_b0-middle", "efficientnet_b0", "features.3"),
        Subject("vit_small", "vit_small_patch16_224", "blocks.11.norm1"),
        Subject("vit_small-middle", "vit_small_patch16_224", "blocks.5"),
        Subject("mobilenetv1", asset="mobilenet_v1_0.25_128_float.onnx", preset="tflite"),
        Subject("squeezenet", asset="squeezenet_fp16_winml.onnx", preset="caffe"),
        Subject("squeezenet-float16", asset="squeezenet_fp16_winml.onnx", preset="caffe", as_is=True),
        Subject("mobilenetv1-uint8", asset="mobilenet_v1_0.25_128_float.onnx", preset="raw", as_is=True),
        Subject("mobilenetv1-int8", asset="mobilenet_v1_0.5_160_qdq.onnx", preset="raw", as_is=True),
        Subject("vww", asset="vww_96_float.onnx", preset="unit", as_is=True),
        Subject("resnet20", asset="cifar10_resnet20_ts_op11.onnx", as_is=True),
    )
}


def describe(subject: Subject) -> dict[str, Any]:
    """What a worker is told of a model, its files and its inputs; they must have been written."""
    stored: dict[str, Any] = json.loads((subject.folder / "subject.json").read_text(encoding="utf-8"))
    return {
        key: str(subject.folder / value) if key in stored["files"] and value is not None else value
        for key, value in stored.items()
    } | {"photos": [str(path) for path in photo_paths()]}


def photo_paths() -> list[Path]:
    return [FOLDER / "photos" / f"{number:02}.npy" for number in range(PHOTOS)]


def write_missing(names: Iterable[str]) -> dict[str, str]:
    """Write the subjects that are not there yet; why some cannot be, by name."""
    reasons: dict[str, str] = {}
    for name in dict.fromkeys(names):
        subject = SUBJECTS[name]
        if subject.missing is not None:
            reasons[name] = subject.missing
        elif not is_written(subject):
            print(f"writing the model {name} into {subject.folder}", file=sys.stderr, flush=True)
            # In a process of its own: what it loads must not lie beside the measured ones.
            done = subprocess.run([sys.executable, "-m", "benchmarks.subject_files", name], cwd=ROOT, text=True,
                                  capture_output=True)  # fmt: skip
            if done.returncode:
                reasons[name] = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return reasons


def is_written(subject: Subject) -> bool:
    path = subject.folder / "subject.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["revision"] == REVISION
