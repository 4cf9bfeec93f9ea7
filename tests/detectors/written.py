"""Outputs that hold known boxes: each layout's published formula, solved for the raw numbers, in plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.detectors.fakes import FAKES, Fake

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """A detection as it should come out: corners in pixels of the input, class from 0, score, candidate."""

    xyxy: tuple[float, float, float, float]
    class_id: int
    score: float
    candidate: int

    @property
    def cxcywh(self) -> tuple[float, float, float, float]:
        x1, y1, x2, y2 = self.xyxy
        return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def blank(fake: Fake, rows: int = 20) -> dict[str, Array]:
    """Zeros of the outputs' shapes; `rows` for an open dimension."""
    outputs = {}
    for name, shape, _ in fake.outputs:
        sides = [rows if isinstance(side, str) else side for side in shape]
        outputs[name] = np.zeros(sides, (fake.dtypes or {}).get(name, "float32"))
    return outputs


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def cell(candidate: int, side: tuple[int, int], strides: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Level, column, row and stride of a candidate: levels in order, rows from above, one candidate per cell."""
    for level, stride in enumerate(strides):
        down, across = math.ceil(side[0] / stride), math.ceil(side[1] / stride)
        if candidate < down * across:
            return level, candidate % across, candidate // across, stride
        candidate -= down * across
    raise IndexError(candidate)


def yolo_dense(out: dict[str, Array], fake: Fake, known: Known) -> None:
    out["output0"][0, :4, known.candidate] = known.cxcywh
    out["output0"][0, 4 + known.class_id, known.candidate] = known.score


def with_objectness(out: dict[str, Array], fake: Fake, known: Known) -> None:
    """Score = objectness · class."""
    row = out["output"][0, known.candidate]
    row[:4] = known.cxcywh
    row[4], row[5 + known.class_id] = 0.95, known.score / 0.95


def yolox(out: dict[str, Array], fake: Fake, known: Known) -> None:
    with_objectness(out, fake, known)
    _, column, row, stride = cell(known.candidate, fake.size_hw, (8, 16, 32))
    cx, cy, w, h = known.cxcywh
    out["output"][0, known.candidate, :4] = (
        cx / stride - column,
        cy / stride - row,
        math.log(w / stride),
        math.log(h / stride),
    )


def end2end(out: dict[str, Array], fake: Fake, known: Known) -> None:
    out["output0"][0, known.candidate] = *known.xyxy, known.score, known.class_id


def end2end_batch(out: dict[str, Array], fake: Fake, known: Known) -> None:
    out["output"][known.candidate] = 0, *known.xyxy, known.class_id, known.score


def shares(numbers: tuple[float, ...], fake: Fake) -> list[float]:
    height, width = fake.size_hw
    return [number / side for number, side in zip(numbers, (width, height, width, height), strict=True)]


def detr(out: dict[str, Array], fake: Fake, known: Known) -> None:
    """Softmax over 91 classes and "no object", which comes last and has a logit of 10 where nothing is."""
    if not out["logits"].any():
        out["logits"][..., -1] = 10
    row = out["logits"][0, known.candidate]
    row[:] = math.log((1 - known.score) / 91)
    row[known.class_id] = math.log(known.score)
    out["pred_boxes"][0, known.candidate] = shares(known.cxcywh, fake)


def sigmoid_detr(classes: str, boxes: str) -> Callable[[dict[str, Array], Fake, Known], None]:
    def write(out: dict[str, Array], fake: Fake, known: Known) -> None:
        if not out[classes].any():
            out[classes][:] = -9
        out[classes][0, known.candidate, known.class_id] = logit(known.score)
        out[boxes][0, known.candidate] = shares(known.cxcywh, fake)

    return write


def rt_detr_deploy(out: dict[str, Array], fake: Fake, known: Known) -> None:
    out["labels"][0, known.candidate] = known.class_id
    out["boxes"][0, known.candidate] = known.xyxy
    out["scores"][0, known.candidate] = known.score


def rt_detr_ultralytics(out: dict[str, Array], fake: Fake, known: Known) -> None:
    out["output0"][0, known.candidate, :4] = shares(known.cxcywh, fake)
    out["output0"][0, known.candidate, 4 + known.class_id] = known.score


def bins(distance: float) -> list[float]:
    """Eight logits whose softmax has this mean: the two neighbouring bins share the weight."""
    low = min(int(distance), 6)
    share = distance - low
    return [math.log(max(1 - share if i == low else share if i == low + 1 else 0, 1e-12)) for i in range(8)]


def nanodet(out: dict[str, Array], fake: Fake, known: Known) -> None:
    """Distances are measured from the centre of the cell."""
    level, column, row, stride = cell(known.candidate, fake.size_hw, (8, 16, 32))
    within = known.candidate - (0, 1600, 2000)[level]
    cx, cy = (column + 0.5) * stride, (row + 0.5) * stride
    x1, y1, x2, y2 = known.xyxy
    distances = [(cx - x1) / stride, (cy - y1) / stride, (x2 - cx) / stride, (y2 - cy) / stride]
    out[f"cls_pred_stride_{stride}"][0, within, known.class_id] = known.score
    out[f"dis_pred_stride_{stride}"][0, within] = [number for distance in distances for number in bins(distance)]


def nanodet_plus(out: dict[str, Array], fake: Fake, known: Known) -> None:
    """Distances are measured from the upper left corner of the cell."""
    _, column, row, stride = cell(known.candidate, fake.size_hw, (8, 16, 32, 64))
    x1, y1, x2, y2 = known.xyxy
    cx, cy = column * stride, row * stride
    distances = [(cx - x1) / stride, (cy - y1) / stride, (x2 - cx) / stride, (y2 - cy) / stride]
    out["output"][0, known.candidate, known.class_id] = known.score
    out["output"][0, known.candidate, 80:] = [number for distance in distances for number in bins(distance)]


def yunet(out: dict[str, Array], fake: Fake, known: Known) -> None:
    """Score = sqrt(class · objectness)."""
    level, column, row, stride = cell(known.candidate, fake.size_hw, (8, 16, 32))
    within = known.candidate - (0, 1600, 2000)[level]
    cx, cy, w, h = known.cxcywh
    out[f"cls_{stride}"][0, within] = 0.9
    out[f"obj_{stride}"][0, within] = known.score**2 / 0.9
    out[f"bbox_{stride}"][0, within] = (
        cx / stride - column,
        cy / stride - row,
        math.log(w / stride),
        math.log(h / stride),
    )


def fastestdet(out: dict[str, Array], fake: Fake, known: Known) -> None:
    """Score = objectness^0.6 · class^0.4."""
    row, column = divmod(known.candidate, 22)
    numbers = out["758"][0, :, row, column]
    cx, cy, w, h = shares(known.cxcywh, fake)
    numbers[1:5] = math.atanh(cx * 22 - column), math.atanh(cy * 22 - row), logit(w), logit(h)
    numbers[5 + known.class_id] = 0.8
    numbers[0] = (known.score / 0.8**0.4) ** (1 / 0.6)


def ssd(out: dict[str, Array], fake: Fake, known: Known) -> None:
    """The background is class 0."""
    out["scores"][0, known.candidate] = 1 - known.score, known.score
    out["boxes"][0, known.candidate] = shares(known.xyxy, fake)


def blazeface(out: dict[str, Array], fake: Fake, known: Known) -> None:
    """Two candidates at each of 16 × 16 cells, then six at each of 8 × 8."""
    if not out["519"].any():
        out["519"][:] = -50
    first = known.candidate < 512
    index, count, across, stride = (known.candidate, 2, 16, 8) if first else (known.candidate - 512, 6, 8, 16)
    row, column = divmod(index // count, across)
    cx, cy, w, h = known.cxcywh
    out["519"][0, known.candidate] = logit(known.score)
    out["output"][0, known.candidate, :4] = cx - (column + 0.5) * stride, cy - (row + 0.5) * stride, w, h


def tensorflow(out: dict[str, Array], fake: Fake, known: Known) -> None:
    x1, y1, x2, y2 = shares(known.xyxy, fake)
    out["detection_boxes:0"][0, known.candidate] = y1, x1, y2, x2
    out["detection_scores:0"][0, known.candidate] = known.score
    out["detection_classes:0"][0, known.candidate] = known.class_id + 1
    out["num_detections:0"][0] = max(out["num_detections:0"][0], known.candidate + 1)


def torchvision(out: dict[str, Array], fake: Fake, known: Known) -> None:
    out["boxes"][known.candidate] = known.xyxy
    out["labels"][known.candidate] = known.class_id + 1
    out["scores"][known.candidate] = known.score


def openvino(out: dict[str, Array], fake: Fake, known: Known) -> None:
    out["detection_out"][0, 0, known.candidate] = 0, known.class_id, known.score, *shares(known.xyxy, fake)


WRITERS: Mapping[str, Callable[[dict[str, Array], Fake, Known], None]] = {
    "yolo-dense": yolo_dense,
    "yolo-anchor": with_objectness,
    "yolox": yolox,
    "yolox-decoded": with_objectness,
    "end2end": end2end,
    "end2end-batch": end2end_batch,
    "detr": detr,
    "rt-detr": sigmoid_detr("logits", "pred_boxes"),
    "rf-detr": sigmoid_detr("labels", "dets"),
    "rt-detr-deploy": rt_detr_deploy,
    "rt-detr-ultralytics": rt_detr_ultralytics,
    "nanodet": nanodet,
    "nanodet-plus": nanodet_plus,
    "yunet": yunet,
    "fastestdet": fastestdet,
    "ssd": ssd,
    "blazeface": blazeface,
    "tensorflow": tensorflow,
    "torchvision": torchvision,
    "openvino": openvino,
}
"""By layout: write one detection into outputs."""

_ONE_CLASS = ("yunet", "ssd", "blazeface")


def known_detections(name: str) -> list[Known]:
    """Three detections that the layout can express, the best last, the lowest score 0.6."""
    fake, classes = FAKES[name], (0, 0, 0) if name in _ONE_CLASS else (2, 17, 79)
    count = fake.candidates or 20
    candidates = (0, count // 2, count - 1)
    found = []
    for candidate, class_id, score in zip(candidates, classes, (0.6, 0.7, 0.9), strict=True):
        x, y, reach = _reach(name, fake, candidate)
        found.append(
            Known((x - 0.7 * reach, y - 0.5 * reach, x + 0.9 * reach, y + 0.6 * reach), class_id, score, candidate)
        )
    return found


def _reach(name: str, fake: Fake, candidate: int) -> tuple[float, float, float]:
    """A point near a candidate's cell, and a length that a box around it can have."""
    strides = {"nanodet": (8, 16, 32), "nanodet-plus": (8, 16, 32, 64), "fastestdet": (16,)}.get(name)
    if strides is None:
        return 0.3 * fake.size_hw[1] + 7 * (candidate % 5), 0.4 * fake.size_hw[0], 31.0
    _, column, row, stride = cell(candidate, fake.size_hw, strides)
    if name == "fastestdet":
        return (column + 0.3) * stride, (row - 0.2) * stride, 31.0
    return (column + 0.5) * stride, (row + 0.5) * stride, 2.5 * stride
