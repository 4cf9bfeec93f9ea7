"""What an engine of a detector says about images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from onnxplain.runtime.detection.detections import DEFAULT_MAX_IOU, DEFAULT_MIN_SCORE, Detections
from onnxplain.runtime.detection.detector import Detector, no_detector_error
from onnxplain.runtime.image import ImageLike, list_images
from onnxplain.runtime.results import Batch


class Detecting(ABC):
    """The part of an engine that detects. `path`: its file. `detector`: runs and reads it; None for other models."""

    path: Path
    detector: Detector | None

    @abstractmethod
    def prepare(self, images: ImageLike | Iterable[ImageLike]) -> Batch:
        """Images as the model's input."""

    def detect(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        min_score: float = DEFAULT_MIN_SCORE,
        iou: float = DEFAULT_MAX_IOU,
    ) -> list[Detections]:
        """The detections of each image: boxes in pixels of the image, best first.

        A detection is a candidate whose best class has a score of at least `min_score`. Of candidates of one class that
        overlap by more than `iou`, the best stays, unless the model suppresses them itself. Raises UnsupportedError for
        a model that is no detector, OnnxplainError for numbers outside [0, 1].
        """
        if self.detector is None:
            raise no_detector_error(self.path)
        detections = []
        listed = list_images(images)
        for rows in self.detector.batches.slices(len(listed)):
            batch = self.prepare(listed[rows])
            detections += self.detector.detect(batch.pixels, batch.frames, min_score, iou)
        return detections
