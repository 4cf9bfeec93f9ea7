"""The report of one or several folders that `onnxplain explain` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.drawing.colours import COLORMAPS
from onnxplain.explanations.verify_folder import RunToVerify
from onnxplain.report.page_file import Report, Table
from onnxplain.report.plot import Plot
from onnxplain.report.report_images import Remark, plan_images
from onnxplain.report.run_card import model_name, run_card


def report_of(
    runs: Sequence[RunToVerify],
    title: str = "",
    findings: Sequence[Table] = (),
    remarks: Mapping[str, Remark] | None = None,
    plots: Sequence[Plot] = (),
) -> Report:
    """The report of these runs, each with its card. Colours and opacity are those of the first run's pictures.

    `remarks`: what a comparison or an evaluation says of single images, by the SHA-256 of the file. Raises
    OnnxplainError for a record that was changed.
    """
    names = _told_apart([model_name(run) for run in runs])
    cards = [(name, run_card(run)) for name, run in zip(names, runs, strict=True)]
    pictures: Any = runs[0].record.get("pictures")
    try:
        colormap, alpha = str(pictures["colormap"]), float(pictures["alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise OnnxplainError(
            f"{runs[0].folder / 'run.json'}: found pictures {pictures!r}, expected a colour map and an alpha: explain "
            "the images again"
        ) from error
    if colormap not in COLORMAPS or not 0 <= alpha <= 1:
        raise OnnxplainError(
            f"{runs[0].folder / 'run.json'}: found colour map {colormap!r} and alpha {alpha}, expected one of OpenCV's "
            "colour maps and a share: explain the images again"
        )
    return Report(title or " and ".join(names), plan_images(runs, remarks), cards, findings, colormap, alpha, plots)


def _told_apart(names: Sequence[str]) -> list[str]:
    """The names with a number where several are equal."""
    return [name if names.count(name) == 1 else f"{name} ({position})" for position, name in enumerate(names, 1)]
