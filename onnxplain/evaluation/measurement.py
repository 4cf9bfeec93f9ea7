"""Measuring one image: image in, one row of results out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from onnxplain.data.problem import Problem, ProblemError
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.heatmap_folder import heat_over_image, read_heatmap, write_heatmap
from onnxplain.evaluation.image_ids import ImageIds
from onnxplain.evaluation.journal import Row
from onnxplain.evaluation.metrics.baselines import MeanBox, center_box, center_gaussian
from onnxplain.evaluation.metrics.metric import Metric
from onnxplain.evaluation.metrics.statistic import pack_bits
from onnxplain.evaluation.plan import (
    BOX,
    CENTER_BOX,
    CENTER_GAUSSIAN,
    CLASSIFICATION,
    MEAN_BOX,
    Plan,
    method_path,
    place,
)
from onnxplain.evaluation.sample import Asked, BoxSample, HeatmapSample, Sample
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.regions import CAM_THRESHOLD
from onnxplain.runtime.box import Corners
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.results import Prediction

TargetChoice = Literal["label", "predicted"]

# Of the points of a curve, which is drawn. The area under it is not rounded.
CURVE_DIGITS = 6


@dataclass(frozen=True, eq=False)
class Measurement:
    """Everything that is measured on each image.

    `explainers`: by method; `doubted`: the same for the model with shuffled weights, empty without one. `class_ids`:
    the model's class for each label; None if the predicted class is explained. `foreign`: folders with heatmaps made
    elsewhere, by name; `save`: the folder to which the heatmaps of the label's class are written.
    """

    engine: Engine
    plan: Plan
    ids: ImageIds
    explainers: Mapping[str, Explainer]
    doubted: Mapping[str, Explainer]
    class_ids: Mapping[str, int] | None
    foreign: Mapping[str, Path]
    mean_box: MeanBox | None
    save: Path | None

    def __call__(self, record: Record, image_hwc: npt.NDArray[np.uint8]) -> Row:
        """The results of one record.

        Raises ProblemError for a heatmap from a folder that cannot be used and for a number that is not finite.
        Raises KeyboardInterrupt if the user stopped a method early: its map is incomplete.
        """
        height, width = image_hwc.shape[:2]
        class_id = None if self.class_ids is None else self.class_ids[record.label]
        prediction = _predict(self.engine, image_hwc)
        sample = Sample(record, (height, width), prediction, class_id)
        row: Row = {
            "image": self.ids.of(record),
            "label": record.label,
            "predicted": prediction.label,
            "score": prediction.score if np.isfinite(prediction.score) else None,
        }
        measured: dict[tuple[str, ...], object] = {CLASSIFICATION: sample, CENTER_GAUSSIAN: self._center(sample)}
        measured[CENTER_BOX] = BoxSample(sample, _corners(center_box(sample.size_hw)))
        if prediction.box_xyxy is not None:
            measured[BOX] = BoxSample(sample, prediction.box_xyxy)
        if self.mean_box is not None:
            measured[MEAN_BOX] = BoxSample(sample, _corners(self.mean_box.place(sample.size_hw)))
        # Maps from folders first: if one is missing, nothing was computed for nothing.
        for name, folder in self.foreign.items():
            measured[method_path(name)] = self._read(sample, folder)
        for name in self.explainers:
            measured[method_path(name)] = self._explain(sample, name, image_hwc)
        for subject in self.plan:
            if subject.path in measured and subject.measured:
                subjected = measured[subject.path]
                values = {metric.column: _measure(metric, record, subjected) for metric in subject.measured}
                values |= {
                    metric.curve_column: np.round(metric.curve(subjected), CURVE_DIGITS).tolist()
                    for metric in subject.measured
                    if metric.curve is not None
                }
                place(row, subject.path, values)
        return row

    def _explain(self, sample: Sample, name: str, image_hwc: npt.NDArray[np.uint8]) -> HeatmapSample:
        """The heatmap of the label's class, and if a metric needs it, that of the predicted class."""
        metrics = self.plan[method_path(name)].measured
        predicted = sample.prediction.class_id
        labelled = predicted if sample.class_id is None else sample.class_id
        targets = [labelled] if any(not metric.of_predicted for metric in metrics) or self.save else []
        targets += [predicted] if any(metric.of_predicted for metric in metrics) else []
        explanations = _explain_each(self.explainers[name], image_hwc, targets)
        chief = explanations[labelled] if labelled in explanations else explanations[predicted]
        if self.save is not None:
            write_heatmap(self.save / name, self.ids.of(sample.record), chief.heatmap)
        asked = None
        if predicted in explanations:
            other = None
            if name in self.doubted:
                other = _explain_each(self.doubted[name], image_hwc, [predicted])[predicted]
            asked = Asked(self.engine, explanations[predicted], image_hwc, other)
        return HeatmapSample(sample, chief.heatmap, chief.heatmap, chief.default_threshold, asked)

    def _read(self, sample: Sample, folder: Path) -> HeatmapSample:
        spellings = self.ids.spellings(sample.record)
        image_id = next((each for each in spellings if (folder / f"{each}.npy").is_file()), spellings[0])
        map_hw = read_heatmap(folder, image_id, sample.size_hw)
        return HeatmapSample(sample, heat_over_image(map_hw, sample.size_hw), map_hw, CAM_THRESHOLD)

    def _center(self, sample: Sample) -> HeatmapSample:
        heatmap_hw = center_gaussian(sample.size_hw)
        return HeatmapSample(sample, heatmap_hw, heatmap_hw, CAM_THRESHOLD)


def _predict(engine: Engine, image_hwc: npt.NDArray[np.uint8]) -> Prediction:
    """The best class with its box; of independent labels, the most probable one; of a mask, the class with the largest
    mean probability."""
    if engine.spec.head.kind == "classes":
        return engine.predict(image_hwc)[0]
    scores = engine.entry_scores(engine.prepare([image_hwc]).pixels)[0][: engine.spec.head.entries]
    return Prediction.from_scores(scores, engine.spec.labels)


def _explain_each(explainer: Explainer, image_hwc: npt.NDArray[np.uint8], targets: list[int]) -> dict[int, Explanation]:
    """One explanation per class; a class that is given twice is explained once."""
    classes = list(dict.fromkeys(targets))
    explanations = explainer.for_targets(image_hwc, classes)
    if any(each.report is not None and each.report.interrupted for each in explanations):
        raise KeyboardInterrupt
    return dict(zip(classes, explanations, strict=True))


def _measure(metric: Metric, record: Record, measured: object) -> Any:
    """The value of a metric for JSON: a number, a boolean, or bits as text; None if the image does not count.

    Raises ProblemError if it cannot be computed, for example if the model gives NaN.
    """
    if not all(need.of_record(record) for need in metric.needs if need.of_record is not None):
        return None
    try:
        value = metric.measure(measured)
        if isinstance(value, np.ndarray):
            return pack_bits(value)
        if not np.isfinite(value):
            raise OnnxplainError(f"found {value}, expected a finite number")
    except OnnxplainError as error:
        path = record.image if isinstance(record.image, Path) else Path(record.name)
        raise ProblemError(Problem(path, None, f"{metric.name}: {error}")) from error
    return value


def _corners(box_xyxy: npt.NDArray[np.float32]) -> Corners:
    x1, y1, x2, y2 = (float(side) for side in box_xyxy)
    return x1, y1, x2, y2
