"""The true boxes of each image of a data set, of all classes together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.data.dataset import DataSet, image_key
from onnxplain.data.mosaic import Mosaics
from onnxplain.data.record import Record
from onnxplain.data.subset import Subset
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.image_ids import ImageIds
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.detection_target import parse_detection_target
from onnxplain.runtime.detection.detections import Detection
from onnxplain.runtime.engine import Engine


@dataclass(frozen=True, eq=False)
class ImageTruths:
    """The true boxes of one image: float32 (T, 4) xyxy in pixels, and the model's class of each, int64 (T,).

    `record`: one of the image's records. `name`: the image's name in results.
    """

    record: Record
    name: str
    boxes_xyxy: FloatArray
    class_ids: npt.NDArray[np.int64]


def read_image_truths(engine: Engine, dataset: DataSet) -> tuple[list[ImageTruths], frozenset[int]]:
    """The images of a data set with all their boxes, in its order; and the detector's classes that it annotates.

    An image without a label has no boxes. Raises OnnxplainError for mosaics, which show objects that have no box, for
    labels that the model does not have, and for an image that has a label but no box.
    """
    base = dataset.records.base if isinstance(dataset.records, Subset) else dataset.records
    if isinstance(base, Mosaics):
        raise OnnxplainError(
            "mosaics: found them for a detector, expected images with a box for each object: leave them out"
        )
    class_ids = match_classes(engine, dataset)
    ids = ImageIds(dataset.records)
    images: dict[object, list[Record]] = {}
    for record in dataset.records:
        if record.label and not len(record.boxes_xyxy):
            raise OnnxplainError(
                f"{dataset.name}: found {record.label!r} without a box in {record.name}, expected a box for each "
                "object: give a data set with boxes, such as COCO, Pascal VOC or YOLO"
            )
        images.setdefault(image_key(record), []).append(record)
    truths = []
    for records in images.values():
        labelled = [record for record in records if record.label]
        boxes = [record.boxes_xyxy for record in labelled]
        classes = [np.full(len(record.boxes_xyxy), class_ids[record.label], np.int64) for record in labelled]
        truths.append(
            ImageTruths(
                records[0],
                ids.of(records[0]).removesuffix(f"#{records[0].label}"),
                np.concatenate([np.empty((0, 4), np.float32), *boxes]),
                np.concatenate([np.empty(0, np.int64), *classes]),
            )
        )
    return truths, frozenset(class_ids.values())


def match_classes(engine: Engine, dataset: DataSet) -> dict[str, int]:
    """The detector's class for each label of a data set: the same name, or the index if the label is a number.

    Raises OnnxplainError, with the labels, if the model does not have all labels that images show.
    """
    shown = {record.label for record in dataset.records}
    found, missing = {}, []
    for label in dataset.labels:
        try:
            target = parse_detection_target(engine.spec, label)
        except OnnxplainError:
            target = None
        if target is None or isinstance(target, Detection) or target.class_id is None or target.rank != 1:
            missing += [label] if label in shown else []
        else:
            found[label] = target.class_id
    if missing:
        known = ", ".join(engine.spec.labels[:5]) or "none"
        raise OnnxplainError(
            f"{dataset.name}: found labels that the detector lacks: {', '.join(missing[:10])}; its labels: {known} … "
            f"({engine.spec.classes} classes): give its labels with --labels FILE"
        )
    return found
