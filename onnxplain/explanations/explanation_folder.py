"""The folder that `explain` writes: pictures, heatmaps, sheets and explanations.jsonl."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError
from onnxplain.explanations.json_number import json_number

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from onnxplain.explainers import Explanation, Regions
    from onnxplain.explainers.regions import Threshold
    from onnxplain.runtime.box import Corners

    ByteArray = npt.NDArray[np.uint8]

RESULTS_FILE = "explanations.jsonl"


@dataclass(frozen=True)
class PictureStyle:
    """How heat is drawn, and the threshold for boxes. None: the method's own threshold."""

    colormap: str = "turbo"
    alpha: float = 0.5
    threshold: Threshold | None = None

    def __post_init__(self) -> None:
        import numpy as np

        from onnxplain.explainers.render import colourise

        colourise(np.zeros((1, 1), np.float32), self.colormap)


@dataclass(frozen=True, eq=False)
class WrittenExplanation:
    """One explanation of one image that was written to the folder.

    `box_xyxy` is the box in the picture: the explained detection's or the box head's if the model has such, else the
    box of the largest region.
    """

    explanation: Explanation
    box_xyxy: Corners | None
    picture: ByteArray
    path: Path


class ExplanationFolder:
    """A folder of explanations. Each run replaces the results; each file and each line is written completely at once.

    Raises OnnxplainError if the folder cannot be created or written to.
    """

    def __init__(self, path: Path, style: PictureStyle) -> None:
        self.path, self._style = path, style

    def __enter__(self) -> ExplanationFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._results = (self.path / RESULTS_FILE).open("w", encoding="utf-8")
        except OSError as error:
            raise OnnxplainError(
                f"{self.path}: cannot be written ({error.strerror}), expected a folder that can be created and "
                "written to: give another folder with -o"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._results.close()

    def add(
        self,
        source: Path,
        name: str,
        image_hwc: ByteArray,
        explanation: Explanation,
        seconds: float,
        head_box: Corners | None = None,
    ) -> WrittenExplanation:
        """Write ``<name>.png``, ``<name>.npy`` and a line of the results. `head_box`: the box of the box head."""
        import numpy as np

        from onnxplain.explainers.atomic import write_atomically
        from onnxplain.explainers.render import Mark, annotate, save_png

        regions = explanation.boxes(self._style.threshold)
        own_box = head_box if explanation.detection is None else explanation.detection.xyxy
        box = own_box if own_box is not None else _largest(regions)
        overlay = explanation.overlay(image_hwc, self._style.colormap, self._style.alpha)
        picture = annotate(overlay, [Mark(box, _caption(explanation))])
        path = self.path / f"{name}.png"
        save_png(path, picture)
        stream = io.BytesIO()
        np.save(stream, explanation.heatmap)
        write_atomically(path.with_name(f"{name}.npy"), stream.getvalue())
        self._write_line(
            {
                "image": str(source),
                "method": explanation.method,
                "target": explanation.target_name if _is_named(explanation) else explanation.target,
                "label": explanation.label,
                "score": json_number(explanation.score),
                "status": explanation.status,
                "boxes": [
                    {"xyxy": [float(side) for side in xyxy], "score": float(score), "area": int(area)}
                    for xyxy, score, area in zip(regions.xyxy, regions.score, regions.area, strict=True)
                ],
                "level": regions.level,
                "evaluations": explanation.evaluations,
                "seconds": round(seconds, 6),
                "layer": explanation.layer,
                "heatmap": f"{name}.npy",
                "overlay": f"{name}.png",
                **({} if explanation.detection is None else {"detection": explanation.detection.as_json()}),
                **({} if explanation.report is None else explanation.report.as_json()),
            }
        )
        return WrittenExplanation(explanation, box, picture, path)

    def add_error(self, source: Path, message: str) -> None:
        """Write the line for an image that could not be read."""
        self._write_line({"image": str(source), "error": message})

    def add_sheet(
        self,
        name: str,
        pictures: Sequence[ByteArray],
        titles: Sequence[str],
        columns: int,
        largest_width: int | None = None,
    ) -> Path:
        """Write pictures side by side as ``<name>.png``. A sheet wider than `largest_width` pixels is shrunk to it."""
        import cv2
        import numpy as np

        from onnxplain.explainers.render import make_sheet, save_png

        sheet = make_sheet(pictures, titles, columns)
        height, width = sheet.shape[:2]
        if largest_width is not None and width > largest_width:
            size_xy = (largest_width, round(height * largest_width / width))
            sheet = cv2.resize(sheet, size_xy, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        path = self.path / f"{name}.png"
        save_png(path, sheet)
        return path

    def _write_line(self, entry: dict[str, Any]) -> None:
        try:
            self._results.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
            self._results.flush()
        except OSError as error:
            raise OnnxplainError(
                f"{self.path / RESULTS_FILE}: cannot be written ({error.strerror}), expected a writable file: "
                "check the disk, or give another folder with -o"
            ) from error


def _largest(regions: Regions) -> Corners | None:
    if not len(regions):
        return None
    x1, y1, x2, y2 = (float(side) for side in regions.xyxy[0])
    return x1, y1, x2, y2


def _is_box_target(explanation: Explanation) -> bool:
    prediction = explanation.prediction
    return prediction is not None and explanation.target >= len(prediction.scores)


def _is_named(explanation: Explanation) -> bool:
    """Whether the target's name says more than its number."""
    return explanation.detection is not None or _is_box_target(explanation)


def _caption(explanation: Explanation) -> str:
    what = f"{explanation.label} · {explanation.score:.2f}"
    if explanation.detection is not None:
        what = f"{explanation.target_name} · {explanation.score:.2f}"
    elif _is_box_target(explanation):
        what = f"{explanation.target_name} of {what}"
    return what if explanation.status == "ok" else f"{what}, {explanation.status.replace('_', ' ')}"
