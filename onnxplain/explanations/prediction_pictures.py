"""The pictures of `predict`: each photo with its boxes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onnxplain.errors import OnnxplainError
from onnxplain.explanations.unique import unique_names

if TYPE_CHECKING:
    from onnxplain.explainers.drawing.colours import Colour
    from onnxplain.explainers.drawing.marks import Mark
    from onnxplain.runtime import Detections, Prediction
    from onnxplain.runtime.answers import Answer
    from onnxplain.runtime.arrays import AnyArray

_SUFFIX = ".boxes.png"
# Steps of the golden ratio: the hues of any number of classes are far apart.
_HUE_STEP = 0.618034


class PredictionPictures:
    """A folder of pictures, one per image: ``STEM.boxes.png``; equal stems get -2, -3 …

    Raises OnnxplainError if the folder cannot be made, or if a picture would overwrite one of the images.
    """

    def __init__(self, folder: Path, sources: Sequence[Path]) -> None:
        names = unique_names([source.stem for source in sources])
        self._paths = {source: folder / f"{name}{_SUFFIX}" for source, name in zip(sources, names, strict=True)}
        clashes = {path.resolve() for path in self._paths.values()} & {source.resolve() for source in sources}
        if clashes:
            raise OnnxplainError(
                f"{min(clashes)}: found an image to predict, expected no file that the pictures overwrite: give "
                "another folder with -o, or leave out the image"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OnnxplainError(
                f"{folder}: cannot be written ({error.strerror}), expected a folder that can be created and written "
                "to: give another folder with -o"
            ) from error

    def write(self, source: Path, pixels_hwc: AnyArray, marks: Sequence[Mark]) -> Path:
        """Write the picture of an image; returns its path."""
        from onnxplain.explainers.drawing.marks import annotate
        from onnxplain.explainers.drawing.sheet import save_png
        from onnxplain.runtime.images.pixels import as_picture

        path = self._paths[source]
        save_png(path, annotate(as_picture(pixels_hwc), marks))
        return path


def detection_marks(found: Detections) -> list[Mark]:
    """A mark per detection, the best one last and so on top; each class has its own colour."""
    from onnxplain.explainers.drawing.marks import Mark, caption

    return [
        Mark(
            (float(found.xyxy[i, 0]), float(found.xyxy[i, 1]), float(found.xyxy[i, 2]), float(found.xyxy[i, 3])),
            caption(found.label(i), float(found.confidence[i])),
            class_colour(int(found.class_id[i])),
        )
        for i in reversed(range(len(found)))
    ]


def prediction_marks(prediction: Prediction) -> list[Mark]:
    """The mark of a class and its box, if it has one."""
    from onnxplain.explainers.drawing.marks import Mark, caption

    return [Mark(prediction.box_xyxy, caption(prediction.label, prediction.score))]


def answer_marks(answers: Sequence[Answer], words: str) -> list[Mark]:
    """The boxes among the answers, each with the name of its head, and `words` about the others."""
    from onnxplain.explainers.drawing.marks import Mark
    from onnxplain.runtime.answers import BoxAnswer

    boxes = [Mark(answer.xyxy, answer.head.name) for answer in answers if isinstance(answer, BoxAnswer)]
    return [*boxes, *([Mark(text=words)] if words else [])]


def class_colour(class_id: int) -> Colour:
    """A bright colour for a class, the same in every picture."""
    red, green, blue = colorsys.hsv_to_rgb((0.55 + class_id * _HUE_STEP) % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
