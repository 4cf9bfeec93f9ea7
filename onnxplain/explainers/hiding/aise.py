"""AISE: Gaussian windows of several widths, placed one after the other where an optimiser expects the highest score."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.hiding.hiding_explainer import HiddenMap, HidingExplainer, HidingTask
from onnxplain.explainers.hiding.hiding_report import HidingReport
from onnxplain.explainers.hiding.trials import Trials
from onnxplain.explainers.masked.players import seen_window
from onnxplain.explainers.masked.product_masks import ProductDraw, ProductMasks
from onnxplain.explainers.regions import RISE_THRESHOLD
from onnxplain.runtime.arrays import DoubleArray, FloatArray

# Positions per width: OpenVINO XAI's middle preset.
_USUAL_POSITIONS, _LEAST_POSITIONS = 50, 5
_EPSILON = 0.1


@dataclass(frozen=True)
class AISE(HidingExplainer):
    """``raw = Σ_w D_w / max D_w`` with ``D_w = Σ_k (d_kw − min_k d_kw) G_kw`` and ``d = f(X ∘ G) − f(X ∘ (1 − G))``.

    G_kw is a Gaussian of width w around the position k, 1 at its centre. The positions are those at which DIRECT (Jones
    et al. 1993; scipy) looks for the largest d: everywhere first, then closer where it is large. AISE: Adaptive Input
    Sampling for Explanation of Black-box Models, as in OpenVINO XAI 1.1; widths are shares of the part of the input
    that shows the image, as there. OpenVINO XAI adds d itself. Where no window alone keeps the score, all d are
    negative; that sum is then lowest where most windows are, around the best place, and the map is upside down.

    `widths`: standard deviations, shares of the sides. `evaluations`: None: 301, fifty positions per width, two copies
    each. The positions depend on the target, so several targets need their own copies. Nothing is drawn by chance.

    `raw` has no sign. `report.measured`: "agreement": the mean correlation of the maps of two widths.
    """

    widths: tuple[float, ...] = (0.1, 0.175, 0.25)

    name: ClassVar[str] = "aise"
    unit: ClassVar[str] = "score kept minus score left, per width"
    stoppable: ClassVar[bool] = True
    smooth: ClassVar[bool] = True
    heat_from_zero: ClassVar[bool] = False
    default_threshold: ClassVar[float] = RISE_THRESHOLD

    @property
    def forward_passes(self) -> int:
        """Forward passes for one target of one image, the unmasked image included, before the image is known."""
        return 1 + 2 * self._positions * len(self.widths)

    @property
    def _positions(self) -> int:
        if self.evaluations is None:
            return _USUAL_POSITIONS
        return (self.evaluations - 1) // (2 * len(self.widths))

    def _check_options(self) -> None:
        if len(self.widths) == 0 or not all(width > 0 for width in self.widths):
            raise OnnxplainError(f"widths: found {self.widths}, expected positive shares of the sides")
        if self._positions < _LEAST_POSITIONS:
            raise OnnxplainError(
                f"evaluations: found {self.evaluations}, expected at least "
                f"{1 + 2 * _LEAST_POSITIONS * len(self.widths)} for aise with {len(self.widths)} widths: give more, or "
                "take fewer widths"
            )

    def _map(self, task: HidingTask) -> list[HiddenMap]:
        maps: list[HiddenMap] = []
        for part, placed in enumerate(task.placed):
            maps.append(self._map_one(task.of(placed, part, len(task.placed))))
            if maps[-1].report.interrupted:
                # Nothing is started for the other targets.
                task = replace(task, stop=lambda: True)
        return maps

    def _map_one(self, task: HidingTask) -> HiddenMap:
        size_hw = task.black_box.input_size_hw
        rows, columns = seen_window(task.view.frame)
        planned = 2 * self._positions * len(self.widths)
        trials = task.trials(ProductMasks(size_hw, 2), planned)
        densities = []
        for width in self.widths:
            kernels = _Kernels(size_hw, (rows, columns), width)
            search = _Search(trials, kernels, self._positions)
            search.run()
            densities.append(search.density())
        raw = sum((_over_maximum(each) for each in densities), np.zeros(size_hw)).astype(np.float32)
        report = HidingReport(
            f"Gaussians of {len(self.widths)} widths",
            copies=trials.done,
            planned=planned,
            measured={"agreement": _agreement([each[rows, columns] for each in densities])},
            explain_output=task.black_box.explains,
            stopped_early=trials.interrupted,
        )
        return HiddenMap(raw, trials.changed[0], report, bool(trials.finite[0]))


@dataclass(frozen=True, eq=False)
class _Kernels:
    """Gaussians of one width over the part of an input that shows the image: positions and widths are shares of it."""

    size_hw: tuple[int, int]
    seen: tuple[slice, slice]
    width: float
    # DIRECT returns to the same rows and columns many times.
    known: dict[tuple[int, float], DoubleArray] = field(default_factory=dict)

    def factors(self, position_yx: npt.NDArray[np.float64]) -> tuple[DoubleArray, DoubleArray]:
        """Column (H,) and row (W,) whose product is the Gaussian."""
        y, x = position_yx.tolist()
        return self._factor(0, y), self._factor(1, x)

    def _factor(self, axis: int, share: float) -> DoubleArray:
        if (axis, share) not in self.known:
            part = self.seen[axis]
            place = (np.arange(self.size_hw[axis]) + 0.5 - part.start) / (part.stop - part.start)
            self.known[axis, share] = np.exp(-((place - share) ** 2) / (2 * self.width**2))
        return self.known[axis, share]

    def draw(self, position_yx: npt.NDArray[np.float64]) -> ProductDraw:
        """Two masks: the Gaussian, and all but it."""
        column, row = self.factors(position_yx)
        height, width = self.size_hw
        rows, columns = np.zeros((2, height, 2), np.float32), np.ones((2, 2, width), np.float32)
        rows[0, :, 1], rows[1, :, 0], rows[1, :, 1] = column, 1, -column
        columns[:, 1] = row
        return ProductDraw(rows, columns)


class _SearchEndError(Exception):
    """The search has looked at as many positions as it may, or was interrupted."""


@dataclass(eq=False)
class _Search:
    """The positions that DIRECT looks at for one width, and what was found there."""

    trials: Trials[ProductDraw]
    kernels: _Kernels
    most: int
    found: list[tuple[npt.NDArray[np.float64], float]] = field(default_factory=list)

    def run(self) -> None:
        """Look at the positions."""
        from scipy.optimize import Bounds, direct

        if self.trials.interrupted:
            return
        bounds = Bounds([0.0, 0.0], [1.0, 1.0])
        # Never reached: an iteration looks at two positions at least. scipy allocates memory for all iterations first.
        most = 10 * self.most
        try:
            direct(self._look, bounds, eps=_EPSILON, maxfun=most, maxiter=most, locally_biased=False)
        except _SearchEndError:
            return

    def _look(self, position_yx: npt.NDArray[np.float64]) -> float:
        if len(self.found) >= self.most:
            raise _SearchEndError
        position_yx = np.array(position_yx, np.float64)
        scores: FloatArray = self.trials(self.kernels.draw(position_yx))
        if len(scores) < 2:
            raise _SearchEndError
        gain = float(scores[0, 0]) - float(scores[1, 0])
        self.found.append((position_yx, gain))
        return -gain

    def density(self) -> DoubleArray:
        """D_w, float64 (H, W)."""
        total, kernel = np.zeros(self.kernels.size_hw), np.empty(self.kernels.size_hw)
        lowest = min((gain for _, gain in self.found), default=0.0)
        for position, gain in self.found:
            np.multiply.outer(*self.kernels.factors(position), out=kernel)
            kernel *= gain - lowest
            total += kernel
        return total


def _over_maximum(density: DoubleArray) -> DoubleArray:
    largest = density.max()
    return density / largest if largest > 0 else density


def _agreement(maps: list[DoubleArray]) -> float:
    """The mean correlation of two maps; NaN where fewer than two of them vary."""
    varying = [each.ravel() for each in maps if each.std() > 0]
    if len(varying) < 2:
        return float("nan")
    correlations: DoubleArray = np.atleast_2d(np.corrcoef(varying))
    return float(correlations[np.triu_indices(len(varying), 1)].mean())
