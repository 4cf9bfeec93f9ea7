"""The folder that `explain` writes: pictures, heatmaps, sheets and explanations.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from onnxplain.errors import OnnxplainError
from onnxplain.explanations.answer_tree import summarise_answers
from onnxplain.explanations.result_line import describe_explanation, npy_bytes
from onnxplain.explanations.run_record import RECORD_FILE, RunCounts, RunRecord
from onnxplain.files.atomic import open_anew, write_atomically
from onnxplain.files.json_bytes import json_bytes
from onnxplain.files.line_file import LineFile
from onnxplain.files.lock import lock_folder
from onnxplain.files.shown_paths import relative_to
from onnxplain.picture_defaults import DEFAULT_ALPHA, DEFAULT_COLORMAP
from onnxplain.version import __version__

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from onnxplain.explainers import Explanation
    from onnxplain.explainers.regions import Threshold
    from onnxplain.runtime.box import Corners
    from onnxplain.runtime.detection.detections import Detections

    ByteArray = npt.NDArray[np.uint8]

HeatScale = Literal["own", "shared"]
MissingPart = Literal["image", "target", "method"]
"""Why an image lacks an explanation: it could not be read, a target is not in it, or a method cannot explain it."""

RESULTS_FILE = "explanations.jsonl"


@dataclass(frozen=True)
class PictureStyle:
    """How heat is drawn, and the threshold for boxes. None: the method's own threshold.

    `heat_scale`: "own": the hottest pixel of each map has the last colour. "shared": maps of one image that one method
    made for several targets are drawn on one scale.
    """

    colormap: str = DEFAULT_COLORMAP
    alpha: float = DEFAULT_ALPHA
    threshold: Threshold | None = None
    heat_scale: HeatScale = "own"

    def __post_init__(self) -> None:
        import numpy as np

        from onnxplain.explainers.drawing.colours import colourise

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


@dataclass(frozen=True, eq=False)
class SourceImage:
    """An image that is explained. `name`: what the names of its files begin with. `image_hwc`: its picture, uint8 RGB.

    `sha256`: of its file. `head_box`: the box of the box head, if the model has one. `detections`: those of a detector.
    """

    path: Path
    name: str
    image_hwc: ByteArray
    sha256: str
    head_box: Corners | None = None
    detections: Detections | None = None


class ExplanationFolder:
    """A folder of explanations. Each run replaces the results; each file and each line is written completely at once.

    `run`: the record of the run, which is written as ``run.json`` at the beginning and at the end.
    Raises OnnxplainError if the folder cannot be created or written to, or if another process writes to it.
    """

    def __init__(self, path: Path, style: PictureStyle, run: RunRecord) -> None:
        self.path, self._style, self._run = path, style, run
        self._explanations = self._errors = 0
        self._images: set[Path] = set()
        self._answered: tuple[Path, list[dict[str, Any]]] | None = None
        self.interrupted = False

    def __enter__(self) -> ExplanationFolder:
        try:
            with ExitStack() as opened:
                opened.enter_context(lock_folder(self.path))
                self._write_run(self._run)
                self._results = LineFile(open_anew(self.path / RESULTS_FILE))
                opened.callback(self._results.close)
                self._opened = opened.pop_all()
        except OSError as error:
            raise OnnxplainError(
                f"{self.path}: cannot be written ({error.strerror}), expected a folder that can be created and "
                "written to: give another folder with -o"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = kind is not None and issubclass(kind, Exception) and not self._explanations and not self._errors
        with self._opened:
            if kind is None:
                counts = RunCounts(len(self._images), self._explanations, self._errors, self.interrupted)
                self._write_run(self._run.finished(counts))
            elif failed:
                # A run that failed before its first result leaves nothing.
                for name in (RESULTS_FILE, RECORD_FILE):
                    with suppress(OSError):
                        (self.path / name).unlink()

    def add(
        self, image: SourceImage, suffix: str, explanation: Explanation, seconds: float, largest: float = 1.0
    ) -> WrittenExplanation:
        """Write picture, heatmap, raw map and a line of the results: ``NAME + suffix`` with .png, .npy and .raw.npy.

        `largest`: the heat of the hottest pixel on a scale that several maps share.
        """
        from onnxplain.explainers.drawing.explained import draw_explanation
        from onnxplain.explainers.drawing.figure import HeatStyle
        from onnxplain.explainers.drawing.sheet import save_png

        regions = explanation.boxes(self._style.threshold)
        shared = largest if self._style.heat_scale == "shared" else 1.0
        heat = HeatStyle(self._style.colormap, self._style.alpha, shared)
        picture, box = draw_explanation(
            explanation, image.image_hwc, regions, heat, image.head_box, self._run.assumed_parts
        )
        name = image.name + suffix
        line = {
            "run": self._run.id,
            "image": relative_to(image.path, self.path),
            "image_sha256": image.sha256,
            **describe_explanation(explanation, regions, box),
            "answers": self._answers_of(image, explanation),
            "options": self._run.options_of(explanation.method),
            "seconds": round(seconds, 6),
            "heatmap": f"{name}.npy",
            "raw": f"{name}.raw.npy",
            "overlay": f"{name}.png",
            **({} if explanation.report is None else explanation.report.as_json()),
        }
        path = self.path / f"{name}.png"
        save_png(path, picture, {"Software": f"onnxplain {__version__}", "onnxplain": json_bytes(line).decode()})
        write_atomically(path.with_name(f"{name}.npy"), npy_bytes(explanation.heatmap))
        write_atomically(path.with_name(f"{name}.raw.npy"), npy_bytes(explanation.raw))
        self._write_line(line)
        self._images.add(image.path)
        self._explanations += 1
        return WrittenExplanation(explanation, None if box is None else box.xyxy, picture, path)

    def add_error(self, source: Path, message: str, problem: MissingPart = "image") -> None:
        """Write the line for an image that could not be read, a target that is not in it, or a method that failed."""
        self._errors += 1
        image = relative_to(source, self.path)
        error = message.replace(str(source), image)
        self._write_line({"run": self._run.id, "image": image, "problem": problem, "error": error})

    def add_sheet(
        self,
        name: str,
        pictures: Sequence[ByteArray],
        titles: Sequence[str],
        columns: int,
        largest_width: int | None = None,
    ) -> Path:
        """Write pictures side by side as ``<name>.png``.

        A sheet wider than `largest_width` pixels is shrunk to it; None: rows that are too long take several lines.
        """
        import cv2
        import numpy as np

        from onnxplain.explainers.drawing.sheet import WIDEST_SHEET, make_sheet, save_png

        sheet = make_sheet(pictures, titles, columns, WIDEST_SHEET if largest_width is None else None)
        height, width = sheet.shape[:2]
        if largest_width is not None and width > largest_width:
            size_xy = (largest_width, round(height * largest_width / width))
            sheet = cv2.resize(sheet, size_xy, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        path = self.path / f"{name}.png"
        save_png(path, sheet)
        return path

    def _answers_of(self, image: SourceImage, explanation: Explanation) -> list[dict[str, Any]]:
        """What each head answers. All lines of an image have the answers that its first explanation holds."""
        if self._answered is None or self._answered[0] != image.path:
            self._answered = image.path, summarise_answers(explanation.answers, image.detections)
        return self._answered[1]

    def _write_run(self, run: RunRecord) -> None:
        write_atomically(self.path / RECORD_FILE, json_bytes(run.as_json(), indent=2))

    def _write_line(self, entry: dict[str, Any]) -> None:
        try:
            self._results.add(json_bytes(entry))
        except OSError as error:
            raise OnnxplainError(
                f"{self.path / RESULTS_FILE}: cannot be written ({error.strerror}), expected a writable file: "
                "check the disk, or give another folder with -o"
            ) from error
