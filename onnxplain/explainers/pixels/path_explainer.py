"""Methods that follow a straight path from a baseline to the image, and say how well their map adds up."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from onnxplain.explainers.aimed.observing import PlacedActivations
from onnxplain.explainers.aimed.placed_target import explained_columns
from onnxplain.explainers.hiding.jackknife import error_share
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.engine_box import view_of
from onnxplain.explainers.masked.fill import Fill, check_fill
from onnxplain.explainers.method_report import MethodReport, large_error
from onnxplain.explainers.passes import Passes
from onnxplain.explainers.pixels.copy_sums import CopySums
from onnxplain.explainers.pixels.pixel_explainer import PixelExplainer, PixelMap, in_parts
from onnxplain.explainers.progress import Progress
from onnxplain.runtime.arrays import DoubleArray
from onnxplain.runtime.head_scores import head_scalars

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class CompletenessReport(MethodReport):
    """`total`: Σ raw. `change`: y(image) − y(baseline), which it should be. `steps`: points of the path.

    Where the points are `drawn` at random, `standard_error`: float64 (H, W), for each pixel of `Explanation.raw`, by
    the jackknife over groups of points, and `relative_error`: its root mean square over the map's standard deviation.
    Both are None for a fixed rule and for fewer than 16 points.
    """

    total: float
    change: float
    steps: int
    relative_error: float | None = None
    standard_error: DoubleArray | None = field(default=None, repr=False, compare=False)
    drawn: bool = False

    @property
    def completeness_error(self) -> float | None:
        """``|Σ raw − change| / |change|``; None where the answer does not change, or is no number."""
        if self.change == 0 or not np.isfinite([self.total, self.change]).all():
            return None
        return abs(self.total - self.change) / abs(self.change)

    @property
    def map_error(self) -> float | None:
        """`relative_error`."""
        return self.relative_error

    @property
    def caution(self) -> str:
        """An error as large as the change, or as the differences of the map."""
        error = self.completeness_error
        if error is not None and error >= 1:
            return "the map does not add up"
        return large_error(self.relative_error)

    def as_json(self) -> dict[str, Any]:
        """The fields and the error."""
        numbers = {"total": self.total, "change": self.change}
        return {
            "steps": self.steps,
            **{name: value if np.isfinite(value) else None for name, value in numbers.items()},
            "completeness_error": self.completeness_error,
            "relative_error": self.relative_error,
        }

    def summary(self) -> str:
        """For example "completeness error 0.4 % (50 steps)", or "error 3.1 %, completeness error 8 % (50 samples)"."""
        error = self.completeness_error
        known = "unknown" if self.relative_error is None else f"{100 * self.relative_error:.1f} %"
        parts = [f"error {known}"] if self.drawn else []
        parts += [] if error is None else [f"completeness error {100 * error:.2g} %"]
        return f"{', '.join(parts)} ({self.steps} {'samples' if self.drawn else 'steps'})".lstrip()


@dataclass(frozen=True)
class PathExplainer(PixelExplainer):
    """``raw = Σ_c (x_c − b_c) Σ_k w_k g_c(b + α_k (x − b))``; see the subclasses for α and w.

    `fill`: the baseline b: "mean", as for `RISE`, "blur", a colour or another image. Files of integer inputs round the
    points of the path. y is what is differentiated, such as the logit. The sum of the map is y(x) − y(b), up to an
    error that `report` gives, a `CompletenessReport`.
    """

    fill: Fill = "mean"

    unit: ClassVar[str] = "share of the answer"
    # Whether the points are drawn at random; the map then has a standard error.
    drawn: ClassVar[bool] = False

    @abstractmethod
    def _points(self) -> tuple[DoubleArray, DoubleArray]:
        """α and w, float64 (n,) each."""

    def _check_options(self) -> None:
        check_fill(self.fill, smooth=self.name)

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`; the image and the baseline are also run for the change that the map must add up to."""
        return Passes(forward=3, gradient=self.copies)

    @property
    def _evaluations_per_layer(self) -> int:
        return 3 + self.copies

    def _map(self, view: View, seen: PlacedActivations, report: Progress) -> PixelMap:
        (placed,) = seen.placed
        baseline = np.broadcast_to(view.hidden, view.pixels.shape)
        (layer,) = self._layers()
        both = np.stack([baseline, view.pixels])
        features, *outputs = self.engine.run(both, [layer.features, *self.engine.head_outputs])
        names = [head.name for head in self.engine.spec.heads]
        answers = explained_columns([placed], dict(zip(names, outputs, strict=True)), head_scalars)[:, 0]
        shares, weights = self._points()
        difference = features[1].astype(np.float64) - features[0]
        mean, sums = np.zeros(features[0].shape), CopySums(features.shape[2:])
        for part in in_parts(len(shares)):
            path = baseline + shares[part, None, None, None].astype(np.float32) * (view.pixels - baseline)
            gradients = self._gradients(path, placed)[1].astype(np.float64)
            if self.drawn:
                sums.add((difference * gradients).sum(axis=1))
            else:
                mean += (weights[part, None, None, None] * gradients).sum(axis=0)
            report(part.stop, len(shares))
        raw, error = sums.error_of(np.copy) if self.drawn else ((difference * mean).sum(axis=0), None)
        change = float(answers[1]) - float(answers[0])
        found = CompletenessReport(
            float(raw.sum()), change, len(shares), error_share(raw, error), error, drawn=self.drawn
        )
        return PixelMap(raw, found)

    def _view(self, image: ImageLike) -> View:
        return view_of(self.engine, image, self.fill)
