"""Scores, classes and boxes of a detector's candidates, from the columns of its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.contract.detectors import DetectorLayout, DetectorSpec
from onnxplain.errors import ModelError
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.box_codes import BOX_CODES, RawBoxes
from onnxplain.runtime.detection.cells import make_cells
from onnxplain.runtime.detection.columns import DetectorColumns
from onnxplain.runtime.scores import sigmoid

IndexArray = npt.NDArray[np.int64]
# How far numbers that were rounded may lie outside 0…1 and still be probabilities.
_ROUNDING = 0.05


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of one image that reach a score, K of them.

    `boxes_xyxy` float32 (K, 4) in pixels of the model's input, not clipped; `scores` float32 (K,); `class_ids` int64
    (K,), the best class of each; `index` int64 (K,): which candidates they are. `best_score`: the largest score of any
    candidate, NaN without candidates. `not_finite`: candidates whose score is NaN.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    class_ids: IndexArray
    index: IndexArray
    best_score: float
    not_finite: int


def decode_candidates(
    spec: DetectorSpec,
    columns: DetectorColumns,
    size_hw: tuple[int, int],
    min_score: float = 0.0,
    score_step: float = 0.0,
) -> Candidates:
    """The candidates of one image whose best class has a score of at least `min_score`, in the graph's order.

    `score_step`: the step to which a file of eight bits rounds its scores; such a score can be above 1 and is then 1.
    Raises ModelError where the scores are no probabilities: then the columns are not those of the layout.
    """
    scores = best_scores(spec.layout, columns)
    nan = np.isnan(scores)
    present = _present(columns)
    usable = scores[present & ~nan]
    _check_scores(spec, usable, max(_ROUNDING, score_step))
    index = np.flatnonzero(present & ~nan & (scores >= min_score)).astype(np.int64)
    return Candidates(
        boxes_xyxy=candidate_boxes(spec, columns, index, size_hw),
        scores=scores[index].clip(max=1),
        class_ids=_classes(spec, columns, index),
        index=index,
        best_score=min(float(usable.max()), 1.0) if usable.size else float("nan"),
        not_finite=int(np.count_nonzero(present & nan)),
    )


def best_scores(layout: DetectorLayout, columns: DetectorColumns) -> FloatArray:
    """The score of each candidate's best class, float32 (M,).

    ``objectness ** p · class ** q`` with the powers of the layout. The largest number is the largest probability too,
    so the activation is computed for one class per candidate alone, but for softmax, which needs all.
    """
    stated = columns.column("score")
    if stated is not None:
        return stated
    if layout.activation == "softmax":
        softmaxed: FloatArray = class_scores(layout, columns).max(axis=1)
        return softmaxed
    best: FloatArray = _foreground(layout, columns.parts["classes"]).max(axis=1)
    return _weighted(layout, sigmoid(best) if layout.activation == "sigmoid" else best, columns.column("objectness"))


def class_scores(layout: DetectorLayout, columns: DetectorColumns) -> FloatArray:
    """The scores of all classes of each candidate, float32 (M, C), without the background.

    C = 1 for layouts whose candidates carry their own class.
    """
    stated = columns.column("score")
    if stated is not None:
        return stated[:, None]
    numbers = columns.parts["classes"]
    if layout.activation == "softmax":
        exponentials = np.exp(numbers - numbers.max(axis=1, keepdims=True))
        numbers = exponentials / exponentials.sum(axis=1, keepdims=True)
    elif layout.activation == "sigmoid":
        numbers = sigmoid(numbers)
    objectness = columns.column("objectness")
    return _weighted(layout, _foreground(layout, numbers), None if objectness is None else objectness[:, None])


def scores_of(layout: DetectorLayout, columns: DetectorColumns, class_ids: IndexArray) -> FloatArray:
    """The scores of some classes of each candidate, float32 (M, K) in [0, 1]; 0 where a score is NaN or no candidate.

    A candidate that carries its own class has the score 0 for every other. Only the columns of these classes are read,
    but for a softmax.
    """
    stated, carried = columns.column("score"), columns.column("class_id")
    objectness = columns.column("objectness")
    if stated is not None:
        scores = np.repeat(stated[:, None], len(class_ids), axis=1)
        if carried is not None:
            scores = scores * (np.rint(carried)[:, None] - layout.first_class == class_ids)
    elif layout.activation == "softmax":
        scores = class_scores(layout, columns)[:, class_ids]
    else:
        numbers = _foreground(layout, columns.parts["classes"])[:, class_ids]
        numbers = sigmoid(numbers) if layout.activation == "sigmoid" else numbers
        scores = _weighted(layout, numbers, None if objectness is None else objectness[:, None])
    usable = np.where(_present(columns)[:, None], np.nan_to_num(scores, nan=0.0), 0)
    return usable.clip(0, 1).astype(np.float32, copy=False)


def candidate_boxes(
    spec: DetectorSpec, columns: DetectorColumns, index: IndexArray, size_hw: tuple[int, int]
) -> FloatArray:
    """The boxes of some candidates, float32 (K, 4) x1, y1, x2, y2 in pixels of the input, not clipped."""
    layout = spec.layout
    cells = make_cells(size_hw, spec.strides, layout.per_cell).at(index) if spec.strides else None
    raw = RawBoxes(np.ascontiguousarray(columns.parts["box"][index]), cells, layout.cell_centre)
    with np.errstate(over="ignore", invalid="ignore"):
        corners = BOX_CODES[layout.box](raw)
        if layout.normalized:
            height, width = size_hw
            corners = corners * np.array([width, height, width, height], np.float32)
    return corners.astype(np.float32, copy=False)


def _foreground(layout: DetectorLayout, numbers: FloatArray) -> FloatArray:
    """The classes without the background."""
    start, stop = {"first": (1, None), "last": (0, -1), None: (0, None)}[layout.background]
    return numbers[:, start:stop]


def _weighted(layout: DetectorLayout, classes: FloatArray, objectness: FloatArray | None) -> FloatArray:
    """The classes, weighted by the objectness."""
    if objectness is None:
        return classes
    if layout.powers == (1.0, 1.0):
        return classes * objectness
    first, second = (np.float32(power) for power in layout.powers)
    # Powers of a number that rounding made negative are NaN.
    weighted: FloatArray = np.power(objectness.clip(0), first) * np.power(classes.clip(0), second)
    return weighted


def _present(columns: DetectorColumns) -> npt.NDArray[np.bool_]:
    """Which rows are candidates of this image: outputs can be longer than their content, or hold several images."""
    image, number = columns.column("image"), columns.parts.get("count")
    if image is not None:
        return np.asarray(image == 0)
    return np.arange(columns.count) < (columns.count if number is None else float(number.reshape(-1)[0]))


def _check_scores(spec: DetectorSpec, scores: FloatArray, rounding: float) -> None:
    if not scores.size or spec.layout.activation != "none":
        return
    lowest, highest = float(scores.min()), float(scores.max())
    if highest > 1 + rounding or lowest < -rounding:
        raise ModelError(
            f"detector: found scores from {lowest:.3g} to {highest:.3g}, expected 0 to 1 in the layout "
            f"{spec.layout_name}: its outputs are laid out in another way, state it with --detector"
        )


def _classes(spec: DetectorSpec, columns: DetectorColumns, index: IndexArray) -> IndexArray:
    """The class of each of some candidates, from 0, without the background."""
    layout = spec.layout
    stated = columns.column("class_id")
    if stated is None:
        best: IndexArray = _foreground(layout, columns.parts["classes"][index]).argmax(axis=1).astype(np.int64)
        return best
    found = stated[index]
    whole = np.rint(found)
    wrong = found[~(np.abs(found - whole) < _ROUNDING) | (whole < layout.first_class)]
    if wrong.size:
        raise ModelError(
            f"detector: found the class {float(wrong[0]):g}, expected whole numbers from {layout.first_class} in the "
            f"layout {spec.layout_name}: its outputs are laid out in another way, state it with --detector"
        )
    return whole.astype(np.int64) - layout.first_class
