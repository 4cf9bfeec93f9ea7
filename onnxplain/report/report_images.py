"""The images of one or several runs, each with photo, answers and maps, as plain data for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from onnxplain.contract import MapFrame
from onnxplain.errors import OnnxplainError
from onnxplain.explanations.explanation_folder import RESULTS_FILE, MissingPart
from onnxplain.explanations.run_record import hash_of
from onnxplain.explanations.verify_folder import RunToVerify
from onnxplain.report.concern import Concern, agreement_of, concerns_of, error_of, weight_of
from onnxplain.report.head_answers import short_answer, shown_answer, shown_score
from onnxplain.report.map_code import encode_map
from onnxplain.report.photo import read_photo
from onnxplain.report.plot import Plot
from onnxplain.runtime.box import Corners
from onnxplain.runtime.geometry import Frame

_PROBLEMS: Mapping[MissingPart, Concern] = {
    "image": "unreadable",
    "target": "target not found",
    "method": "not explained",
}


@dataclass(frozen=True)
class Remark:
    """What a comparison or an evaluation says about an image.

    `rows`: of a table. `weight`: how much it speaks against the image, beside the `concerns`. `truth_xyxy`: the true
    boxes, in pixels of the photo. `plots`: curves.
    """

    rows: tuple[tuple[str, str], ...] = ()
    weight: float = 0.0
    concerns: tuple[Concern, ...] = ()
    truth_xyxy: tuple[Corners, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class ReportImage:
    """An image of the report, not yet read. `lines`: those of explanations.jsonl, each with the number of its run."""

    name: str
    runs: Sequence[RunToVerify]
    lines: tuple[tuple[int, Mapping[str, Any]], ...]
    changed_models: frozenset[int] = frozenset()
    remark: Remark = field(default_factory=Remark)

    def read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Its entry in the page's list, and everything else. Raises OnnxplainError for a line that was changed."""
        try:
            return self._read()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise OnnxplainError(
                f"{self._folder / RESULTS_FILE}: found a line for {self.name} that was changed, or that another "
                f"version wrote ({type(error).__name__}: {error}), expected the keys of docs/provenance.md: explain "
                "the images again"
            ) from error

    @property
    def _folder(self) -> Path:
        return self.runs[self.lines[0][0]].folder

    def _read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        failed = [line for _, line in self.lines if "error" in line]
        errors = {str(line["error"]).replace(str(line["image"]), self.name): line["problem"] for line in failed}
        problems = {_PROBLEMS[problem]: None for problem in errors.values()}
        lines = [(run, line) for run, line in self.lines if "error" not in line]
        if not lines:
            common = {"name": self.name, "label": "", "status": next(iter(problems)), "concerns": [*problems]}
            return {**common, "weight": weight_of(problems)}, {"error": "; ".join(errors)}
        run, first = lines[0]
        photo = read_photo(
            self.runs[run].folder / first["image"],
            first["image_sha256"],
            tuple(first["image_size_hw"]),
            float(self.runs[run].record["max_megapixels"]),
        )
        maps = [_describe_map(self.runs[number].folder, number, line) for number, line in lines]
        concerns: dict[Concern, None] = dict.fromkeys(concerns_of([line for _, line in lines]))
        first_of_run = dict(reversed(lines))
        answers = [short_answer(first_of_run[number]) for number in sorted(first_of_run)]
        found: tuple[tuple[Concern, bool], ...] = (
            ("model changed", any(number in self.changed_models for number, _ in lines)),
            ("photo changed", photo.changed),
            ("photo missing", photo.url is None and not photo.changed),
            ("map missing", any(each["missing"] for each in maps)),
            ("models disagree", len({answer.label for answer in answers}) > 1),
        )
        concerns.update(dict.fromkeys(concern for concern, holds in found if holds))
        concerns.update(problems)
        concerns.update(dict.fromkeys(self.remark.concerns))
        entry: dict[str, Any] = {
            "name": self.name,
            "label": answers[0].label,
            "score": answers[0].score,
            "score_text": answers[0].score_text,
            "status": next((line["status"] for _, line in lines if line["status"] != "ok"), "ok"),
            "agreement": min(_known(agreement_of(line) for _, line in lines), default=None),
            "error": max(_known(error_of(line) for _, line in lines), default=None),
            "concerns": list(concerns),
            "weight": weight_of(concerns) + self.remark.weight,
        }
        detail = {
            "size_hw": first["image_size_hw"],
            "photo": photo.url,
            "photo_reason": photo.reason,
            "answers": [each for number in dict.fromkeys(run for run, _ in lines) for each in _answers(lines, number)],
            "remarks": [*self.remark.rows, *(("failed", error) for error in errors)],
            "truth": [list(box) for box in self.remark.truth_xyxy],
            "plots": [plot.as_data() for plot in self.remark.plots],
            "maps": maps,
        }
        return entry, detail


def plan_images(runs: Sequence[RunToVerify], remarks: Mapping[str, Remark] | None = None) -> list[ReportImage]:
    """The images of the runs in their order. Images of several runs are one if name and content are the same.

    `remarks`: by the SHA-256 of the image's file.
    """
    grouped: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    changed = frozenset(number for number, run in enumerate(runs) if _model_changed(run))
    for number, run in enumerate(runs):
        # Lines of a failure belong to the image with maps, if it has any.
        known = {str(line.get("image")): str(line["image_sha256"]) for line in run.lines if "image_sha256" in line}
        for line in run.lines:
            image = str(line.get("image"))
            key = image, str(line.get("image_sha256", known.get(image, "")))
            grouped.setdefault((PurePosixPath(key[0]).name, key[1]), []).append((number, line))
    return [
        ReportImage(name, runs, tuple(lines), changed, (remarks or {}).get(sha256, Remark()))
        for (name, sha256), lines in grouped.items()
    ]


def _model_changed(run: RunToVerify) -> bool:
    """Whether a file of the model is there and is another one. A report needs no model: a missing file is no change."""
    model = run.record["model"]
    recorded = ({"file": model["file"], "sha256": model["sha256"]}, *model["weights"])
    paths = ((run.folder / entry["file"], entry["sha256"]) for entry in recorded)
    return any(path.is_file() and hash_of(path) != sha256 for path, sha256 in paths)


def _known(values: Iterator[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _answers(lines: Sequence[tuple[int, Mapping[str, Any]]], run: int) -> Iterator[dict[str, Any]]:
    """The answers of a run's heads for one image, one per head."""
    line = next(line for number, line in lines if number == run)
    for answer in line["answers"]:
        yield {"run": run, **shown_answer(answer)}


def _describe_map(folder: Path, run: int, line: Mapping[str, Any]) -> dict[str, Any]:
    frame, lies = Frame(**_pairs(line["frame"])), line["map_frame"]
    if lies is not None:
        MapFrame(**lies)
    if list(frame.image_size_hw) != list(line["image_size_hw"]):
        raise ValueError(f"frame of an image of {frame.image_size_hw}, not {line['image_size_hw']}")
    code, missing = None, ""
    if line["status"] == "ok":
        try:
            code = encode_map(_load_raw(folder / line["raw"]), heat_from_zero=bool(line["heat_from_zero"]))
        except (OSError, ValueError, EOFError) as error:
            missing = f"{line['raw']}: found no map ({error}): explain the image again"
    return {
        "run": run,
        "method": str(line["method"]),
        "layer": line["layer"],
        "target": str(line["target_name"]),
        "uses_target": bool(line["uses_target"]),
        # The score beside a coordinate of the box is that of the predicted class.
        "scored": str(line["label"]) if isinstance(line["target"], str) and line["detection"] is None else "",
        "score": line["score"],
        "score_text": shown_score(line),
        "status": str(line["status"]),
        "unit": str(line["unit"]),
        "heat_from_zero": bool(line["heat_from_zero"]),
        "frame": line["frame"],
        "map_frame": lies,
        "code": code,
        "missing": missing,
        "threshold": float(line["level"]),
        "box": line["box"],
        "evaluations": int(line["evaluations"]),
        "error": error_of(line),
        "masks": line.get("masks"),
        "agreement": agreement_of(line),
    }


def _pairs(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(pair) for name, pair in frame.items()}


def _load_raw(path: Path) -> Any:
    raw = np.load(path, allow_pickle=False)
    if not isinstance(raw, np.ndarray) or raw.dtype != np.float32 or raw.ndim != 2 or not raw.size:
        raise ValueError("expected an array float32 (h, w)")
    if not np.isfinite(raw).all():
        raise ValueError("expected finite values")
    return raw
