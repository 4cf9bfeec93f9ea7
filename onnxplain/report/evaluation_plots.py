"""The curves of an evaluation, one plot per metric with a line for each method and baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from onnxplain.report.plot import Plot, PlotLine

if TYPE_CHECKING:
    from onnxplain.evaluation.curves import Curve, Over

_OF: dict[Over, str] = {
    "threshold": "share of images where a box fits",
    "changed pixels": "mean score of the predicted class",
}


def evaluation_plots(curves: Sequence[Curve], name_of: Callable[[Curve], str]) -> tuple[Plot, ...]:
    """One plot for each metric, in the order of the curves. `name_of`: the line's name."""
    grouped: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        grouped.setdefault((curve.metric.title, curve.name), []).append(curve)
    return tuple(
        Plot(
            f"{title}, {name}" if name else title,
            same[0].over,
            _OF[same[0].over],
            tuple(
                PlotLine(name_of(curve), curve.values.tolist(), curve.low.tolist(), curve.high.tolist())
                for curve in same
            ),
            peak=same[0].over == "threshold",
        )
        for (title, name), same in grouped.items()
    )
