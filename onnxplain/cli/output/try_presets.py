"""One image under every preprocessing that fits a file, so that a user can recognise the right one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from onnxplain.cli.options.model import ModelArguments
from onnxplain.cli.options.preprocessing import StatedInput
from onnxplain.contract import GRAY_PRESETS, PRESETS, Channels, Layout, Preprocessing
from onnxplain.errors import ModelError
from onnxplain.runtime import make_frame
from onnxplain.runtime.preprocess import normalise, warp_image

if TYPE_CHECKING:
    import numpy.typing as npt

    from onnxplain.runtime import Engine

TOP = 5


@dataclass(frozen=True, eq=False)
class Trial:
    """A preprocessing, and the image's best classes (class_id, label, score) with it."""

    engine: Engine
    preset: str
    channels: Channels
    layout: Layout
    top: tuple[tuple[int, str, float], ...]


def try_presets(model: ModelArguments, image_hwc: npt.NDArray[np.uint8]) -> list[Trial]:
    """Trials of each preset, channel order and layout that fits, sorted by their best score, highest first.

    Given options are kept. Presets with the same numbers appear once. Raises ModelError if no layout fits the file.
    """
    trials = [
        _try(engine, image_hwc, name, preprocessing)
        for engine in _open_layouts(model)
        for name, preprocessing in _candidates(engine, model.stated)
    ]
    return sorted(trials, key=lambda trial: -trial.top[0][2])


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
    base = engine.spec.input.preprocessing
    gray = base.channels == "gray"
    orders: tuple[Channels, ...] = ("gray",) if gray else ("rgb", "bgr")
    found: dict[Preprocessing, str] = {}
    for name in GRAY_PRESETS if gray else PRESETS:
        if engine.input_dtype == np.uint8 and name != "raw":
            continue
        for order in orders:
            part = replace(stated, preset=stated.preset or name, channels=stated.channels or order)
            found.setdefault(part.apply(base), part.preset or name)
    return [(name, preprocessing) for preprocessing, name in found.items()]


def _try(engine: Engine, image_hwc: npt.NDArray[np.uint8], name: str, preprocessing: Preprocessing) -> Trial:
    spec = engine.spec
    height, width = image_hwc.shape[:2]
    frame = make_frame((height, width), spec.input.size_hw, preprocessing.resize, preprocessing.crop_share)
    batch = normalise(warp_image(image_hwc, frame)[None], preprocessing)
    scores = engine.scores(batch)[0]
    best = np.argsort(-scores, kind="stable")[:TOP]
    top = tuple((int(index), spec.label(int(index)), float(scores[index])) for index in best)
    return Trial(engine, name, preprocessing.channels, spec.input.layout, top)
