"""The three models of the study, written once into build/methods, each also with shuffled weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from benchmarks.client import ROOT
from benchmarks.subject_models import PREPROCESSING, cut_integers_off, widen
from benchmarks.subjects import ASSETS
from onnxplain import Engine
from onnxplain.contract import Preprocessing
from onnxplain.exporters import instrument

FOLDER = ROOT / "build" / "methods"
DIGIT_VIT = FOLDER / "digit_vit.onnx"
# Its normalised pixels are (pixel / 255 − mean) / std.
DIGIT_MEAN, DIGIT_STD = 0.5, 0.25
SHUFFLE_SEED = 0

DIGITS = Preprocessing("rgb", 1 / 255, (DIGIT_MEAN,) * 3, (DIGIT_STD,) * 3)


@dataclass(frozen=True)
class StudyModel:
    """A model: `write_plain` makes the file that is instrumented.

    `first_class`: the number of ImageNet's class 0; None for a model of digits. `layers`: what is instrumented; other
    layers are another file.
    """

    name: str
    title: str
    preprocessing: Preprocessing
    write_plain: Callable[[Path], None]
    first_class: int | None = None
    layers: tuple[str, ...] = ("input", "auto")


def _squeezenet(path: Path) -> None:
    onnx.save(widen(onnx.load(ASSETS / "models" / "squeezenet_fp16_winml.onnx")), path)


def _mobilenet(path: Path) -> None:
    onnx.save(cut_integers_off(onnx.load(ASSETS / "models" / "mobilenet_v1_0.25_128_float.onnx")), path)


def _digit_vit(path: Path) -> None:
    if not DIGIT_VIT.exists():
        from benchmarks.studies.methods.digit_vit import write_digit_vit

        write_digit_vit()
    path.write_bytes(DIGIT_VIT.read_bytes())


MODELS = (
    StudyModel("mobilenet", "MobileNetV1 0.25", PREPROCESSING["tflite"], _mobilenet, first_class=1),
    StudyModel("vit", "digit ViT", DIGITS, _digit_vit, layers=("input", "auto", "attention")),
    StudyModel("squeezenet", "SqueezeNet", PREPROCESSING["caffe"], _squeezenet, first_class=0),
)


def open_study_model(model: StudyModel) -> tuple[Engine, Engine]:
    """The engine, and that of the file with shuffled weights; one thread each. Whole photos are stretched to fit."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stem = "-".join((model.name, *model.layers))
    paths = FOLDER / f"{stem}.onnx", FOLDER / f"{stem}-shuffled.onnx"
    for path, seed in zip(paths, (None, SHUFFLE_SEED), strict=True):
        if not path.exists():
            plain = FOLDER / f"{model.name}-plain.onnx"
            model.write_plain(plain)
            preprocessing = replace(model.preprocessing, resize="stretch")
            instrument(plain, path, layers=model.layers, preprocessing=preprocessing, shuffle_weights=seed)
    return Engine(paths[0], threads=1), Engine(paths[1], threads=1)
