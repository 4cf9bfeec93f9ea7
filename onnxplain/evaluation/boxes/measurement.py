"""Measuring one image of a detector: detections, the true boxes that they find, and the maps of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.data.problem import Problem, ProblemError
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.boxes.average_precision import LOWEST_SCORE, MOST_DETECTIONS
from onnxplain.evaluation.boxes.box_match import match_boxes
from onnxplain.evaluation.boxes.explained_box import BoxMap, FoundBox, box_gaussian
from onnxplain.evaluation.boxes.image_truths import ImageTruths
from onnxplain.evaluation.journal import Row
from onnxplain.evaluation.plan import Plan, TreePath, method_path, place
from onnxplain.explainers.explainer import Explainer
from onnxplain.runtime.arrays import AnyArray
from onnxplain.runtime.detection.detections import Detections
from onnxplain.runtime.detection.detector import Detector
from onnxplain.runtime.engine import Engine

DETECTION: TreePath = ("detection",)
BOX_GAUSSIAN: TreePath = ("baselines", "box_gaussian")


@dataclass(frozen=True)
class Outcome:
    """Whether a true box is found, and whether a detection is right; None where there is no such box."""

    is_found: bool | None
    is_right: bool | None


@dataclass(frozen=True, eq=False)
class BoxMeasurement:
    """Everything that is measured on each image.

    `explainers`: by method. `judged`: the model's classes that the data set annotates; detections of other classes do
    not count. `min_score`, `max_iou`: what a detection is.
    """

    engine: Engine
    detector: Detector
    plan: Plan
    explainers: Mapping[str, Explainer]
    judged: frozenset[int]
    min_score: float
    max_iou: float

    def __call__(self, truths: ImageTruths, image_hwc: AnyArray) -> Row:
        """The results of one image: its detections, its true boxes, and the numbers of each box.

        Raises ProblemError for a number that is not finite. Raises KeyboardInterrupt if the user stopped a method
        early: its map is incomplete.
        """
        (found,) = self.engine.detect(image_hwc, min_score=min(LOWEST_SCORE, self.min_score), iou=self.max_iou)
        counted = [row for row in range(len(found)) if int(found.class_id[row]) in self.judged]
        sure = np.array([row for row in counted if found.confidence[row] >= self.min_score], np.int64)
        owners = match_boxes(found.xyxy[sure], found.class_id[sure], truths.boxes_xyxy, truths.class_ids)
        finders = {int(owner): int(row) for row, owner in zip(sure, owners, strict=True) if owner >= 0}
        boxes = [
            _box_row(self._label(int(class_id)), Outcome(index in finders, True if index in finders else None))
            for index, class_id in enumerate(truths.class_ids)
        ]
        for index, entry in enumerate(boxes):
            if index in finders:
                entry |= {"predicted": entry["label"], "score": float(found.confidence[finders[index]])}
        self._measure_maps(truths, image_hwc, found, finders, boxes)
        for row, owner in zip(sure, owners, strict=True):
            if owner < 0:
                wrong = _box_row("", Outcome(None, False))
                boxes.append({**wrong, "predicted": found[int(row)].label, "score": float(found.confidence[row])})
        return {
            "image": truths.name,
            "detections": [_described(found, row) for row in counted[:MOST_DETECTIONS]],
            "truths": [
                {"xyxy": [float(side) for side in box], "class_id": int(class_id)}
                for box, class_id in zip(truths.boxes_xyxy, truths.class_ids, strict=True)
            ],
            "boxes": boxes,
        }

    def _measure_maps(
        self,
        truths: ImageTruths,
        image_hwc: AnyArray,
        found: Detections,
        finders: Mapping[int, int],
        boxes: Sequence[Row],
    ) -> None:
        """Put the numbers of every map of every found box into its entry. `finders`: detections by true box."""
        if not finders:
            return
        batch = self.engine.prepare([image_hwc])
        samples = {}
        for index, row in finders.items():
            same = truths.class_ids == truths.class_ids[index]
            same[index] = False
            samples[index] = FoundBox(
                self.detector,
                truths.boxes_xyxy[index : index + 1],
                truths.boxes_xyxy[same],
                found[row].xyxy,
                int(found.class_id[row]),
                batch.pixels[0],
                batch.frames[0],
            )
        for name, explainer in self.explainers.items():
            explanations = explainer.for_targets(image_hwc, [found[row] for row in finders.values()])
            if any(each.report is not None and each.report.interrupted for each in explanations):
                raise KeyboardInterrupt
            for index, explanation in zip(finders, explanations, strict=True):
                self._put(truths, boxes[index], method_path(name), BoxMap(samples[index], explanation.heatmap))
        size_hw = batch.frames[0].image_size_hw
        for index, sample in samples.items():
            baseline = BoxMap(sample, box_gaussian(size_hw, sample.box_xyxy))
            self._put(truths, boxes[index], BOX_GAUSSIAN, baseline)

    def _put(self, truths: ImageTruths, entry: Row, path: TreePath, box_map: BoxMap) -> None:
        place(entry, path, {metric.column: _measure(metric, truths, box_map) for metric in self.plan[path].measured})

    def _label(self, class_id: int) -> str:
        labels = self.engine.spec.labels
        return labels[class_id] if class_id < len(labels) else str(class_id)


def _box_row(label: str, outcome: Outcome) -> Row:
    return {
        "label": label,
        "predicted": "",
        "score": None,
        "detection": {"recall": outcome.is_found, "precision": outcome.is_right},
    }


def _described(found: Detections, row: int) -> dict[str, Any]:
    return {
        "xyxy": [float(side) for side in found.xyxy[row]],
        "score": float(found.confidence[row]),
        "class_id": int(found.class_id[row]),
    }


def _measure(metric: Any, truths: ImageTruths, box_map: BoxMap) -> float | bool | None:
    """The value of a metric for one map; None if the box does not count. Raises ProblemError if it is not finite."""
    if not all(need.of_box(box_map) for need in metric.needs if need.of_box is not None):
        return None
    try:
        value: float | bool = metric.measure(box_map)
        if not np.isfinite(value):
            raise OnnxplainError(f"found {value}, expected a finite number")
    except OnnxplainError as error:
        record = truths.record
        path = record.image if isinstance(record.image, Path) else Path(record.name)
        raise ProblemError(Problem(path, None, f"{metric.name}: {error}")) from error
    return value
