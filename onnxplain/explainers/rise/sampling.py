"""Sampling of one image: collect the scores of masked copies until a stopping rule; a map is available at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxplain.explainers.aimed.describing import DescribedTarget
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import minus_min_over_range
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.masked_scores import MaskedScores
from onnxplain.explainers.masked.masks import MaskDraw, Pixels
from onnxplain.explainers.masked.players import seen_window
from onnxplain.explainers.progress import Progress
from onnxplain.explainers.regions import RISE_THRESHOLD
from onnxplain.explainers.rise.log_linear_map import ShrunkMap, shrink_map, why_no_sums
from onnxplain.explainers.rise.map_estimate import MapEstimator
from onnxplain.explainers.rise.mask_sums import MaskSums
from onnxplain.explainers.rise.samplers import MaskSampler
from onnxplain.explainers.rise.sampling_report import NoModel, SamplingReport, Stopped
from onnxplain.explainers.rise.stopping_rule import StoppingRule
from onnxplain.explainers.rise.tally import BLOCK, RiseTally, TallyKey
from onnxplain.runtime.arrays import DoubleArray, FloatArray
from onnxplain.runtime.geometry import bilinear_matrix

# Errors are computed on a lattice with this many pixels per side of a cell: within a cell the map is smooth.
_LATTICE_PER_CELL = 8


@dataclass(frozen=True, eq=False)
class RiseSampling:
    """One image, its masks, and the targets whose scores weight the masks. `key` identifies these as plain values.

    `log_linear`: heatmaps show the map shrunk toward a log-linear model's, but not of targets with an entry in
    `no_models`.
    """

    view: View
    scores: MaskedScores[MaskDraw]
    sampler: MaskSampler
    estimator: MapEstimator
    key: TallyKey
    described: Sequence[DescribedTarget]
    log_linear: bool = False
    no_models: Sequence[NoModel | None] = ()

    def begin(self) -> RiseTally:
        """An empty tally, without masks."""
        geometry, components = self.sampler.geometry, self.estimator.components
        sums = MaskSums.empty(geometry, len(self.key.targets), components, logs=self.log_linear)
        return RiseTally(self.key, sums, np.zeros((0, len(self.key.targets)), np.float32))

    def moments(
        self,
        tally: RiseTally,
        rule: StoppingRule,
        progress: Progress | None = None,
        *,
        fleeting: bool = False,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Iterator[RiseMoment]:
        """Continue from `tally` and yield a moment after each block of masks. The last one says why it stopped.

        For any batch size, the tolerance is checked after each block, and the time after each call of the model. Ctrl-C
        also stops the sampling and keeps the masks so far: if the model raises it, and if `interrupted()`, which is
        asked before each call of the model. `progress(masks, most)` is called after each call.
        `fleeting`: a moment is only valid until the next one; this saves copies of the sums.
        """
        if tally.masks >= rule.masks:
            yield RiseMoment(self, tally, "masks")
            return
        deadline = time.monotonic() + (np.inf if rule.budget_seconds is None else rule.budget_seconds)
        while True:
            first = tally.masks - len(tally.tail)
            span = BLOCK * -(-self.scores.masks_at_once // BLOCK)
            draw = self.sampler.draw(first, min(first + span, rule.masks))
            gathered = [tally.tail]
            broken: Stopped | None = None
            try:
                done = len(tally.tail)
                while done < len(draw):
                    if interrupted():
                        broken = "interrupted"
                        break
                    part = draw.part(done, done + self.scores.masks_at_once)
                    gathered.append(self.scores(part))
                    done += len(part)
                    if progress is not None:
                        progress(first + done, rule.masks)
                    if time.monotonic() >= deadline:
                        broken = "budget"
                        break
            except KeyboardInterrupt:
                broken = "interrupted"
            scores = np.concatenate(gathered)
            for start in range(0, max(len(scores), 1), BLOCK):
                stop = start + BLOCK
                tally = self._grow(tally, draw.part(start, stop), scores[start:stop], fleeting)
                stopped = self._stopped(tally, rule) or (broken if stop >= len(scores) else None)
                yield RiseMoment(self, tally, stopped)
                if stopped is not None:
                    return

    def _grow(self, tally: RiseTally, draw: MaskDraw, scores: FloatArray, fleeting: bool) -> RiseTally:
        """The tally with a block instead of its tail: a full block is added to the sums, else it is the new tail."""
        if len(scores) < BLOCK:
            return RiseTally(self.key, tally.sums, scores)
        sums = tally.sums if fleeting else tally.sums.copy()
        sums.add(int(sums.masks.sum()), draw, scores, self.estimator.components)
        return RiseTally(self.key, sums, scores[:0])

    def _stopped(self, tally: RiseTally, rule: StoppingRule) -> Stopped | None:
        if rule.watches(tally.masks) and not len(tally.tail) and rule.satisfied_by(self.relative_errors(tally.sums)):
            return "tolerance"
        return "masks" if tally.masks >= rule.masks else None

    def whole_sums(self, tally: RiseTally) -> MaskSums:
        """The sums over all masks of a tally, including its tail."""
        if not len(tally.tail):
            return tally.sums
        first, sums = tally.masks - len(tally.tail), tally.sums.copy()
        sums.add(first, self.sampler.draw(first, tally.masks), tally.tail, self.estimator.components)
        return sums

    def relative_errors(self, sums: MaskSums) -> list[float | None]:
        """The relative error of each target, over a lattice of visible pixels."""
        if not sums.masks.sum():
            return [None] * len(self.key.targets)
        return [
            self.estimator.estimate(sums, position, self._lattice).relative_error()
            for position in range(len(self.key.targets))
        ]

    @property
    def _steps_yx(self) -> tuple[int, int]:
        """Pixels between two points of a lattice."""
        step_y, step_x = (max(1, cell // _LATTICE_PER_CELL) for cell in self.sampler.geometry.cell_hw)
        return step_y, step_x

    @property
    def _coarse_pixels(self) -> Pixels:
        """A lattice over the whole input."""
        step_y, step_x = self._steps_yx
        return slice(None, None, step_y), slice(None, None, step_x)

    def _enlarge(self, values: DoubleArray) -> FloatArray:
        """Values at `_coarse_pixels` → float32 (H, W), linear between them."""
        rows, columns = (
            bilinear_matrix(side, count, 1 / step, 0.5 - 0.5 / step)
            for side, count, step in zip(self.sampler.geometry.input_size_hw, values.shape, self._steps_yx, strict=True)
        )
        enlarged: FloatArray = rows @ values.astype(np.float32) @ columns.T
        return enlarged

    @cached_property
    def _lattice(self) -> Pixels:
        """A lattice over the part of the input that shows the image."""
        (rows, columns), (step_y, step_x) = seen_window(self.view.frame), self._steps_yx
        return slice(rows.start, rows.stop, step_y), slice(columns.start, columns.stop, step_x)

    def explain(self, tally: RiseTally, stopped: Stopped | None) -> list[Explanation]:
        """One explanation per target."""
        sums = self.whole_sums(tally)
        return [self._explain(sums, position, stopped) for position in range(len(self.key.targets))]

    def _explain(self, sums: MaskSums, position: int, stopped: Stopped | None) -> Explanation:
        explained, masks = self.described[position], int(sums.masks.sum())
        raw = np.zeros(self.sampler.geometry.input_size_hw, np.float32)
        error = relative_error = None
        if masks:
            lattices = (self._coarse_pixels, self._lattice)
            mean, (coarse, visible) = self.estimator.mean_and_estimates(sums, position, lattices)
            raw = np.asarray(mean, np.float32)
            error, relative_error = coarse.standard_error, visible.relative_error()
        # NaN != NaN, so NaN scores count as changed and appear in the map. Without masks there is no range.
        changed = masks > 0 and sums.lowest[position] != sums.highest[position]
        shrunk, no_model = self._shrink(sums, position) if self.log_linear else (None, None)
        shown = raw if shrunk is None else np.asarray(shrunk.values, np.float32)
        heatmap, status = minus_min_over_range(shown if changed else np.zeros_like(raw), self.view.frame)
        return Explanation(
            heatmap=heatmap,
            raw=raw,
            status=status,
            method="rise",
            target=explained.target,
            target_name=f"box of {explained.name}" if self.key.explain_output == "box" else explained.name,
            score=explained.score,
            label=explained.label,
            head=explained.head,
            answers=explained.answers,
            layer=None,
            frame=self.view.frame,
            evaluations=1 + masks,
            prediction=explained.prediction,
            detection=explained.detection,
            default_threshold=RISE_THRESHOLD,
            unit=f"mean {'similarity' if explained.detection is not None else 'score'} where a pixel is seen",
            heat_from_zero=False,
            report=SamplingReport(
                estimator=self.key.estimator,
                seed=self.key.seed,
                masks=masks,
                stopped=stopped,
                relative_error=relative_error if changed else None,
                standard_error=None if error is None else self._enlarge(error),
                explain_output=self.key.explain_output,
                shrunk=None if shrunk is None else shown,
                shrunk_error=None if shrunk is None else shrunk.relative_error,
                no_model=no_model,
            ),
        )

    def _shrink(self, sums: MaskSums, position: int) -> tuple[ShrunkMap | None, NoModel | None]:
        """The map that a log-linear estimator shows, or why there is none; neither where no mask changes the score."""
        why = self.no_models[position] or why_no_sums(sums, position)
        if why is not None or sums.lowest[position] == sums.highest[position]:
            return None, why
        return shrink_map(self.estimator, sums, position, self._lattice), None


@dataclass(frozen=True, eq=False)
class RiseMoment:
    """The state of a sampling: `tally` holds its data, `stopped` is the reason why it stopped, None if it goes on."""

    sampling: RiseSampling
    tally: RiseTally
    stopped: Stopped | None

    @property
    def evaluations(self) -> int:
        """Forward passes so far, including the one of the unmasked image."""
        return 1 + self.tally.masks

    @cached_property
    def relative_error(self) -> float | None:
        """The largest `SamplingReport.relative_error` of all targets, None if one is unknown. Computed on request."""
        errors = self.sampling.relative_errors(self.sampling.whole_sums(self.tally))
        known = [error for error in errors if error is not None]
        return max(known) if len(known) == len(errors) else None

    def explanations(self) -> list[Explanation]:
        """The maps so far, one per target. Computed on request."""
        return self.sampling.explain(self.tally, self.stopped)

    def explanation(self) -> Explanation:
        """The map of the first target so far. Computed on request."""
        return self.explanations()[0]
