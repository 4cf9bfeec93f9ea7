"""The measured models, each with its inputs and one class; `subject_files.py` writes them once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import ROOT

FOLDER = ROOT / "runs" / "bench" / "models"
ASSETS = ROOT.parent / "shared" / "assets"
# Files written by another revision are written again.
REVISION = 3
DESCRIPTION = "subject.json"
# The subject whose maps of copies are stored, for solvers.
COPIES_OF = "resnet50"
PHOTOS = 32
BATCH = 16


@dataclass(frozen=True)
class Subject:
    """A model: `architecture` is built in torch with random weights, `asset` a file of ../shared/assets.

    `layer`: the torch module whose output the CAM family looks at. `as_is`: keep the asset's input and output types,
    for comparisons with the original file; else it is converted to float32, NCHW, any batch size. `base`: another
    subject of the same network; all its files are used except the explainable one.
    """

    name: str
    architecture: str | None = None
    layer: str | None = None
    asset: str | None = None
    preset: str = "imagenet"
    as_is: bool = False
    base: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of its files: weights, ONNX files, inputs and a description of them."""
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
        Subject("resnet50-layer3", "resnet50", "layer3", base="resnet50"),
        Subject("resnet50-layer2", "resnet50", "layer2", base="resnet50"),
        Subject("resnet50-stem", "resnet50", "relu", base="resnet50"),
        Subject("mobilenetv2", "mobilenet_v2", "features"),
        Subject("mobilenetv2-middle", "mobilenet_v2", "features.6", base="mobilenetv2"),
        Subject("efficientnet_b0", "efficientnet_b0", "features"),
        Subject("efficientnet_b0-middle", "efficientnet_b0", "features.3", base="efficientnet_b0"),
        Subject("vit_small", "vit_small_patch16_224", "blocks.11.norm1"),
        Subject("vit_small-middle", "vit_small_patch16_224", "blocks.5", base="vit_small"),
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
    """The description of a model, its files and inputs for workers; the files must exist."""
    stored: dict[str, Any] = json.loads((subject.folder / DESCRIPTION).read_text(encoding="utf-8"))
    return {
        key: str(subject.folder / value) if key in stored["files"] and value is not None else value
        for key, value in stored.items()
    } | {"photos": [str(path) for path in photo_paths()]}


def photo_paths() -> list[Path]:
    return [FOLDER / f"photos-{REVISION}" / f"{number:02}.npy" for number in range(PHOTOS)]


def write_missing(names: Sequence[str]) -> dict[str, str]:
    """Write the missing subjects; returns, by name, why some cannot be written."""
    reasons: dict[str, str] = {}
    bases = [SUBJECTS[name].base for name in names]
    for name in dict.fromkeys(name for pair in zip(bases, names, strict=True) for name in pair if name is not None):
        subject = SUBJECTS[name]
        if subject.missing is not None:
            reasons[name] = subject.missing
        elif not is_written(subject):
            print(f"writing the model {name} into {subject.folder}", file=sys.stderr, flush=True)
            # In a separate process: what it loads must not stay in memory during measuring.
            done = subprocess.run([sys.executable, "-m", "benchmarks.subject_files", name], cwd=ROOT, text=True,
                                  capture_output=True)  # fmt: skip
            if done.returncode:
                reasons[name] = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return reasons


def is_written(subject: Subject) -> bool:
    path = subject.folder / DESCRIPTION
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["revision"] == REVISION
