"""One image under every preprocessing that fits a file, so that a user can recognise the right one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from onnxplain.cli.options.model import ModelArguments
from onnxplain.cli.options.preprocessing import StatedInput
from onnxplain.contract import PRESETS, Channels, Completed, Layout, Preprocessing, as_parts, override
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.explanations.image_arguments import read_image
from onnxplain.runtime import make_frame
from onnxplain.runtime.preprocess import normalise, warp_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnxplain.runtime import Engine
    from onnxplain.runtime.arrays import AnyArray

TOP = 5
# Trials above this score are equally convincing; of two classes, one is above it easily.
CONFIDENT = 0.9
FEW_CLASSES = 2


@dataclass(frozen=True, eq=False)
class Trial:
    """A preprocessing, and the image's best classes (class_id, label, score) with it."""

    engine: Engine
    preset: str
    channels: Channels
    layout: Layout
    top: tuple[tuple[int, str, float], ...]


def try_presets(model: ModelArguments, image: Path, max_megapixels: float | None = None) -> list[Trial]:
    """Trials of each preset, channel order and layout that fits, sorted by their best score, highest first.

    Given options are kept. Presets with the same numbers appear once. Raises ModelError if no layout fits the file,
    ImageError if the image cannot be read, OnnxplainError for a model without scores of classes.
    """
    engines = _open_layouts(model)
    head = engines[0].spec.head
    if head.kind not in ("classes", "labels", "mask"):
        raise OnnxplainError(
            f"--try: found the head {head.name} of kind {head.kind}, expected one with scores of classes"
        )
    trials = [
        _try(engine, image_hwc, name, preprocessing)
        for engine in engines
        for image_hwc in [read_image(engine, image, max_megapixels)]
        for name, preprocessing in _candidates(engine, model.stated)
    ]
    return sorted(trials, key=lambda trial: -trial.top[0][2])


def doubt(trials: Sequence[Trial]) -> str:
    """Why the trials do not decide which preprocessing is right; empty if one is clearly more confident."""
    if trials[0].engine.spec.classes <= FEW_CLASSES:
        return "two classes only: with so few, a wrong preprocessing is confident too"
    confident = [trial for trial in trials if trial.top[0][2] > CONFIDENT]
    if len(confident) > 1:
        return f"{len(confident)} of {len(trials)} trials are above {CONFIDENT}"
    return ""


def _open_layouts(model: ModelArguments) -> list[Engine]:
    engines = []
    for layout in get_args(Layout) if model.stated.layout is None else ():
        try:
            engines.append(replace(model, stated=replace(model.stated, layout=layout)).open_quietly())
        except ModelError:
            # This layout does not fit. If no layout fits, model.open() below raises the error that says why.
            continue
    return engines or [model.open_quietly()]


def _candidates(engine: Engine, stated: StatedInput) -> list[tuple[str, Preprocessing]]:
    source, dtype = engine.spec.input, str(engine.input_dtype)
    base = Completed(source.preprocessing, source.origins)
    colour = base.preprocessing.channel_count == len("rgb")
    orders: tuple[Channels, ...] = ("rgb", "bgr") if colour else (base.preprocessing.channels,)
    found: dict[Preprocessing, str] = {}
    for name in PRESETS:
        for order in orders:
            tried = replace(stated, preset=stated.preset or name, channels=stated.channels or order)
            try:
                parts = as_parts(tried.parts).with_preset(dtype, tried.channels or order, source.quantization)
                preprocessing = override(parts, base).preprocessing
                replace(source, preprocessing=preprocessing)
            except OnnxplainError:
                # This preset does not exist for such an input; one that the user stated would not have opened.
                continue
            found.setdefault(preprocessing, tried.preset or name)
    return [(name, preprocessing) for preprocessing, name in found.items()]


def _try(engine: Engine, image_hwc: AnyArray, name: str, preprocessing: Preprocessing) -> Trial:
    spec = engine.spec
    height, width = image_hwc.shape[:2]
    frame = make_frame((height, width), spec.input.size_hw, preprocessing.resize, preprocessing.crop_share)
    batch = normalise(warp_image(image_hwc, frame)[None], preprocessing)
    scores = engine.scores(batch)[0]
    best = np.argsort(-scores, kind="stable")[:TOP]
    top = tuple((int(index), spec.label(int(index)), float(scores[index])) for index in best)
    return Trial(engine, name, preprocessing.channels, spec.input.layout, top)
