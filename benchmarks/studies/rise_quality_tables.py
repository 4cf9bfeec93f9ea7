"""The tables and the picture of `rise_quality`, from what it measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.report.cells import wrap
from onnxplain.explainers.rise.estimator import EstimatorName

# Most masks of each estimator; the paper's result with all its masks is the quality that others are compared with.
MOST_MASKS: dict[EstimatorName, int] = {
    "paper": 4032, "centred": 768, "sobol": 768, "default": 1536, "log-linear": 1536,
}  # fmt: skip
# Estimators that are said to reach the paper's quality, or not.
GOOD: Sequence[EstimatorName] = ("default", "log-linear")
CHECKPOINTS = (128, 192, 256, 320, 384, 448, 512, 576, 640, 768, 1088, 1536, 2560, 4032)
SHOWN = (128, 256, 384, 512, 576, 768, 1536, 4032)
# A class with a larger score is a likely one.
LIKELY = 0.1


@dataclass(frozen=True)
class Measured:
    """Similarity of a map to the reference, for one class of one photo and one estimator."""

    network: str
    photo: str
    target: int
    probability: float
    estimator: str
    masks: int
    correlation: float
    rank_correlation: float
    stated_error: float

    @property
    def likely(self) -> bool:
        return self.probability > LIKELY


def median(rows: list[Measured], field: str, **equal: object) -> float:
    """Median over photos of the mean over a photo's classes and seeds; NaN if nothing was measured."""
    chosen = [row for row in rows if all(getattr(row, name) == value for name, value in equal.items())]
    photos = sorted({row.photo for row in chosen})
    means = [np.mean([getattr(row, field) for row in chosen if row.photo == photo]) for photo in photos]
    return float(np.median(means)) if means else float("nan")


def write_table(rows: list[Measured], network: str, likely: bool) -> str:
    """A Markdown table: correlation / rank correlation by estimator and number of masks."""
    kind = {"network": network, "likely": likely}
    lines = [f"{network}, classes with a score {'above' if likely else 'below'} {LIKELY}:", ""]
    lines += ["| masks | " + " | ".join(MOST_MASKS) + " |", "| ---: |" + " --- |" * len(MOST_MASKS)]
    for masks in SHOWN:
        cells = []
        for estimator in MOST_MASKS:
            where = {**kind, "estimator": estimator, "masks": masks}
            values = [median(rows, field, **where) for field in ("correlation", "rank_correlation")]
            cells.append("" if np.isnan(values[0]) else " / ".join(f"{value:.3f}" for value in values))
        lines.append(f"| {masks} | " + " | ".join(cells) + " |")
    goal = median(rows, "correlation", **kind, estimator="paper", masks=MOST_MASKS["paper"])
    first = []
    for estimator in GOOD:
        curve = {masks: median(rows, "correlation", **kind, estimator=estimator, masks=masks) for masks in CHECKPOINTS}
        reached = [masks for masks, correlation in curve.items() if correlation >= goal]
        first.append(f"{f'at {reached[0]}' if reached else f'beyond {MOST_MASKS[estimator]}'} by `{estimator}`")
    worse = count_worse(rows, network, likely)
    text = wrap(f"The paper's {MOST_MASKS['paper']} masks are reached {', '.join(first)}. {worse}")
    return "\n".join([*lines, "", text, ""])


def count_worse(rows: list[Measured], network: str, likely: bool) -> str:
    """How many classes the log-linear map serves worse than the unbiased one, and how its stated error compares."""
    words = []
    for masks in (384, 768, 1536):
        chosen = [row for row in rows if (row.network, row.likely, row.masks) == (network, likely, masks)]
        classes = sorted({(row.photo, row.target) for row in chosen})
        means = [
            [
                np.mean([row.correlation for row in chosen if (row.photo, row.target, row.estimator) == (*one, name)])
                for name in GOOD
            ]
            for one in classes
        ]
        losses = [default - log_linear for default, log_linear in means]
        worst = max(0.0, *losses)
        words.append(f"{sum(loss > 0 for loss in losses)} of {len(losses)} at {masks} (by {worst:.3f} at most)")
    shown = [row for row in rows if (row.network, row.likely, row.estimator) == (network, likely, "log-linear")]
    stated = np.sqrt(np.nanmean([row.stated_error**2 for row in shown]))
    true = np.sqrt(np.mean([1 / row.correlation**2 - 1 for row in shown]))
    return (
        f"Classes that `log-linear` serves worse than `default`: {', '.join(words)}. Its stated error over the found "
        f"one, root mean squares: {stated / true:.2f}."
    )


def draw_plot(rows: list[Measured], path: Path) -> None:
    """Correlation over evaluations, a panel per network and kind of class."""
    import matplotlib as mpl

    mpl.use("Agg")
    # Text stays text and no date is written: the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "rise", "font.size": 9})
    from matplotlib import pyplot as plt

    networks = list(dict.fromkeys(row.network for row in rows))
    figure, axes = plt.subplots(1, 2 * len(networks), figsize=(5.2 * len(networks), 3.2), sharey=True, squeeze=False)
    panels = [(network, likely) for network in networks for likely in (True, False)]
    for axis, (network, likely) in zip(axes[0], panels, strict=True):
        for number, (estimator, most) in enumerate(MOST_MASKS.items()):
            points = [masks for masks in CHECKPOINTS if masks <= most]
            heights = [
                median(rows, "correlation", network=network, likely=likely, estimator=estimator, masks=masks)
                for masks in points
            ]
            axis.plot(points, heights, marker="o", markersize=3, color=f"C{number}", label=estimator)
            if estimator == "paper":
                axis.axhline(heights[-1], color=f"C{number}", linewidth=0.8, linestyle=":")
        axis.set_xscale("log", base=2)
        axis.set_xticks([128, 512, 2048], ["128", "512", "2048"])
        axis.set_title(f"{network}, p {'>' if likely else '≤'} {LIKELY}", fontsize=9)
        axis.set_xlabel("masks")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("correlation with the converged map")
    axes[0, 0].legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
