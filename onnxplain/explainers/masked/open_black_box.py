"""Open a black box: of an engine or of any callable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from onnxplain.contract import HeadSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.describing import DescribedTarget
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.masked.black_box import AskedTarget, BlackBox, ScoreFunction, View, WholeOutputs
from onnxplain.explainers.masked.detector_box import DetectorBox
from onnxplain.explainers.masked.engine_box import EngineBox
from onnxplain.explainers.masked.explained_output import ExplainOutput, check_explain_output
from onnxplain.explainers.masked.fill import Fill, check_fill, fill_pixels, is_fill_image, is_inpainted
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.detections import Detection
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.geometry import make_frame
from onnxplain.runtime.heads.aim import Aim
from onnxplain.runtime.heads.target_text import NOT_PREFIX
from onnxplain.runtime.image import as_image
from onnxplain.runtime.preprocess import warp_image
from onnxplain.runtime.target import PREDICTED_CLASS, ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


class _CallableBox(BlackBox):
    """Any callable: float32 (N, 3, H, W), RGB, 0–255, stretched to `input_size_hw` → scores (N, C)."""

    def __init__(self, function: ScoreFunction, input_size_hw: tuple[int, int], fill: Fill) -> None:
        self.function = function
        self.input_size_hw = input_size_hw
        self._fill = fill
        self._classes: int | None = None

    def look(self, image: ImageLike) -> View:
        image_hwc = as_image(image)
        height, width = image_hwc.shape[:2]
        frame = make_frame((height, width), self.input_size_hw, "stretch")
        warped_hwc = warp_image(image_hwc, frame)
        if is_fill_image(self._fill):
            other_hwc = as_image(cast("ImageLike", self._fill))
            hidden_hwc = warp_image(other_hwc, make_frame(other_hwc.shape[:2], self.input_size_hw, "stretch"))
        else:
            hidden_hwc = fill_pixels(self._fill, image_hwc, warped_hwc)
        pixels, hidden = (
            np.ascontiguousarray(colours.transpose(2, 0, 1), np.float32) for colours in (warped_hwc, hidden_hwc)
        )
        return View(pixels, hidden, frame, inpainted=is_inpainted(self._fill))

    def scores(self, pixels_nchw: FloatArray) -> FloatArray:
        try:
            scores = np.asarray(self.function(pixels_nchw), np.float32)
        except Exception as error:
            raise OnnxplainError(
                f"score function: raised {type(error).__name__} ({error}) for float32 {pixels_nchw.shape}, "
                "expected scores (N, C)"
            ) from error
        if scores.ndim != 2 or len(scores) != len(pixels_nchw) or not scores.size:
            raise OnnxplainError(
                f"score function: returned shape {scores.shape} for {len(pixels_nchw)} images, "
                f"expected ({len(pixels_nchw)}, C), one row of class scores per image"
            )
        if self._classes not in (None, scores.shape[1]):
            raise OnnxplainError(
                f"score function: returned {scores.shape[1]} classes, expected {self._classes} as before: it must give "
                "the same classes for every image"
            )
        self._classes = scores.shape[1]
        if not np.isfinite(scores).all():
            raise OnnxplainError("score function: returned NaN or infinity, expected finite scores")
        return scores

    def aim(self, target: Target) -> AskedTarget:
        if isinstance(target, Detection):
            raise OnnxplainError("target: found a Detection for a callable, expected a class index: use an Engine")
        aim = target if isinstance(target, Aim) else Aim(target)
        if aim.like is not None or aim.region is not None:
            raise OnnxplainError("target: found like or region for a callable, expected a class index: use an Engine")
        named, sign = aim.target, 1
        if isinstance(named, str) and named.startswith(NOT_PREFIX):
            named, sign = named.removeprefix(NOT_PREFIX), -1
        index = PREDICTED_CLASS if named is None else _class_index(named)
        other = None if aim.against is None else _class_index(aim.against)
        if other is not None and other in (index, PREDICTED_CLASS):
            raise OnnxplainError(f"against: found {aim.against!r}, expected the index of another class")
        return ResolvedTarget(index, _SCORES, sign, other)

    def see_whole(self, view: View) -> WholeOutputs:
        return WholeOutputs((self.scores(view.pixels[None]),))

    def place(self, aims: Sequence[AskedTarget], view: View, whole: WholeOutputs) -> list[PlacedTarget]:
        scores = whole.outputs[0][0]
        head = replace(_SCORES, size=len(scores))
        entries = [aim for aim in aims if isinstance(aim, ResolvedTarget)]
        for index in (index for aim in entries for index in (aim.index, aim.against) if index is not None):
            if index >= len(scores):
                raise OnnxplainError(
                    f"target: found {index}, expected 0 to {len(scores) - 1}: the model returns {len(scores)} scores"
                )
        placed = [PlacedTarget(aim.index, head, sign=aim.sign, against=aim.against) for aim in entries]
        return [each.settle(int(scores.argmax()) if each.index == PREDICTED_CLASS else each.index) for each in placed]

    def describe(self, placed: PlacedTarget, view: View, whole: WholeOutputs) -> DescribedTarget:
        label = str(placed.index)
        name = placed.name_of(label, str(placed.against))
        score = float(whole.outputs[0][0, placed.index])
        return DescribedTarget(placed.index, name, label, score, head=None, answers=None, prediction=None)


# Scores of a callable: how many there are is known when it has run.
_SCORES = HeadSpec("scores", "classes", 1, scores="scores")


def _class_index(target: int | str) -> int:
    index = int(target) if isinstance(target, str) and target.isdecimal() else target
    if isinstance(index, bool) or not isinstance(index, int | np.integer) or index < PREDICTED_CLASS:
        raise OnnxplainError(
            f"target: found {target!r}, expected a class index from 0 up, or None: a callable has no labels"
        )
    return int(index)


def open_black_box(
    score_function: Engine | ScoreFunction,
    input_size_hw: tuple[int, int] | None,
    fill: Fill,
    explain_output: ExplainOutput = "score",
    method: str = "rise",
) -> BlackBox:
    """The black box of an engine or of a callable. Raises OnnxplainError for anything else.

    `explain_output` (see `ExplainedOutput`): "box" raises UnsupportedError if there is no box head.
    `method`: the name in messages about targets.
    """
    check_fill(fill)
    check_explain_output(explain_output)
    if isinstance(score_function, Engine):
        own_size_hw = score_function.spec.input.size_hw
        if input_size_hw is not None and tuple(input_size_hw) != own_size_hw:
            raise OnnxplainError(
                f"input_size_hw: found {tuple(input_size_hw)}, expected the engine's {own_size_hw}: leave it out"
            )
        if score_function.detector is None:
            return EngineBox(score_function, fill, explain_output, method)
        if explain_output != "score":
            raise UnsupportedError(
                f'explain_output: found "{explain_output}" for a detector, expected nothing: its boxes are '
                "explained anyway; leave it out"
            )
        return DetectorBox(score_function, score_function.detector, fill, method)
    if not callable(score_function):
        raise OnnxplainError(
            f"score function: found {type(score_function).__name__}, expected an Engine or a callable "
            "float32 (N, 3, H, W) → (N, C)"
        )
    if explain_output == "box":
        raise UnsupportedError(
            'explain_output: found "box" for a callable, expected "score": a callable returns only scores; use an '
            "Engine to explain a box"
        )
    if input_size_hw is None:
        raise OnnxplainError("input_size_hw: found None, expected (height, width) of the callable's input")
    if len(input_size_hw) != 2 or min(input_size_hw) < 1:
        raise OnnxplainError(f"input_size_hw: found {input_size_hw}, expected (height, width), both positive")
    height, width = input_size_hw
    return _CallableBox(score_function, (int(height), int(width)), fill)
