"""RISE (Petsiuk et al. 2018): which pixels raise a score, from scores under random masks alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, get_args

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.black_box import BlackBox, Fill, ScoreFunction, View, open_black_box
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import FloatArray, minus_min_over_range
from onnxplain.explainers.masks import RandomMasks
from onnxplain.explainers.regions import RISE_THRESHOLD
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.target import PREDICTED_CLASS, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike

Estimator = Literal["default", "paper"]
Progress: TypeAlias = Callable[[int, int], None]

DEFAULT_BATCH_SIZE = 8


@dataclass(frozen=True)
class RISE(Explainer):
    """Importance of a pixel = the target's expected score where a random mask shows that pixel.

    `score_function`: an `Engine`, of which only `scores` is used, or any callable that takes float32
    (N, 3, H, W), RGB, 0–255, the image stretched to `input_size_hw`, and returns scores (N, C).
    `masks`: how many masked copies of an image are scored, beside the unmasked one; memory does not depend on it.
    `grid`, `keep`, `seed`: see `RandomMasks`. Mask i depends on the seed and i only, so the result is that of any
    other `batch_size` (None: 8), up to the model's own rounding.
    `fill`: what a masked pixel shows. "mean": zero of the normalised input, the mean colour of the training images;
    where the file's mean is 0, and for callables, the image's own mean colour. Or an (r, g, b), 0–255.
    `estimator`, with scores s, masks M, N of them, keep p and mean score s̄:

    - "paper": ``1 / (p·N) Σ s_i M_i``, the paper's equation 6;
    - "default": ``1 / (p·N) Σ (s_i − s̄) M_i``, the paper's with a control variate. Since E[M] = p at every pixel,
      its expectation is (1 − 1/N) times the paper's minus one constant, which the heatmap does not show; gone is
      the noise that the mean score adds where the N masks happen to show a pixel more or less often than p.
      Negative: showing that pixel lowers the score. One mask alone says nothing here ("constant").

    `progress(done, total)`: called after each batch with masked forward passes over all images of the call.

    `raw` is float32 (H, W), the model's input size. Status "constant": no mask changed the score. Box coordinates
    are refused: RISE sees only scores. Raises OnnxplainError for parameters out of range, and for a callable that
    fails or returns anything but finite scores of the right shape.
    """

    score_function: Engine | ScoreFunction
    input_size_hw: tuple[int, int] | None = None
    masks: int = 800
    grid: int = 8
    keep: float = 0.5
    seed: int = 0
    batch_size: int | None = None
    estimator: Estimator = "default"
    fill: Fill = "mean"
    progress: Progress | None = None

    name: ClassVar[str] = "rise"

    def __post_init__(self) -> None:
        for name, least in (("masks", self.masks), ("batch_size", self.batch_size)):
            if least is not None and least < 1:
                raise OnnxplainError(f"{name}: found {least}, expected at least 1")
        if self.estimator not in get_args(Estimator):
            raise OnnxplainError(
                f"estimator: found {self.estimator!r}, expected one of {', '.join(get_args(Estimator))}"
            )
        black_box = self._black_box()
        RandomMasks(black_box.input_size_hw, self.grid, self.keep, self.seed)

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        black_box = self._black_box()
        # Every target is checked before the first of many forward passes.
        indices = [black_box.resolve_target(target) for target in targets]
        total = self.masks * len(images)
        return [
            self._explain(black_box, image, index, done=position * self.masks, total=total)
            for position, (image, index) in enumerate(zip(images, indices, strict=True))
        ]

    def _black_box(self) -> BlackBox:
        return open_black_box(self.score_function, self.input_size_hw, self.fill)

    def _explain(self, black_box: BlackBox, image: ImageLike, target: int, *, done: int, total: int) -> Explanation:
        view = black_box.look(image)
        scores = black_box.scores(view.pixels[None])[0]
        if target >= len(scores):
            raise OnnxplainError(
                f"target: found {target}, expected 0 to {len(scores) - 1}: there are {len(scores)} scores"
            )
        if target == PREDICTED_CLASS:
            target = int(scores.argmax())
        raw, changed = self._estimate(black_box, view, target, done, total)
        heatmap, status = minus_min_over_range(raw if changed else np.zeros_like(raw), view.frame)
        return Explanation(
            heatmap=heatmap,
            raw=raw,
            status=status,
            method=self.name,
            target=target,
            target_name=black_box.label(target),
            score=float(scores[target]),
            label=black_box.label(target),
            layer=None,
            frame=view.frame,
            evaluations=1 + self.masks,
            prediction=black_box.prediction(scores),
            default_threshold=RISE_THRESHOLD,
        )

    def _estimate(self, black_box: BlackBox, view: View, target: int, done: int, total: int) -> tuple[FloatArray, bool]:
        """The raw map, and whether any two masks gave different scores.

        Sums are kept in the space of grids, one small grid per shift, in float64 and in the order of the
        masks: the same additions whatever the batch size, in the memory of about one map. Scores are counted
        from the first mask's, d_i = s_i − s_1, so that equal scores give an exact zero.
        """
        bank = RandomMasks(black_box.input_size_hw, self.grid, self.keep, self.seed)
        deviating = np.zeros((*bank.cell_hw, self.grid, self.grid))  # Σ d_i grid_i, per shift
        counting = np.zeros_like(deviating)  # Σ grid_i, per shift
        deviation, base, changed = np.zeros(1), 0.0, False
        batch_size = self.batch_size or DEFAULT_BATCH_SIZE
        for start in range(0, self.masks, batch_size):
            stop = min(start + batch_size, self.masks)
            draw = bank.draw(start, stop)
            scores = black_box.scores(view.show(bank.render(draw)))[:, target].astype(np.float64)
            if start == 0:
                base = scores[0]
            deviations = scores - base
            shifts = tuple(draw.shifts_yx.T)
            # add.at adds one mask after the other; a matrix product would add in an order of its own.
            np.add.at(deviating, shifts, deviations[:, None, None] * draw.grids)
            np.add.at(counting, shifts, draw.grids)
            np.add.at(deviation, np.zeros(len(scores), np.int64), deviations)
            changed = changed or bool((deviations != 0).any())
            if self.progress is not None:
                self.progress(done + stop, total)
        # Σ s_i M_i = Σ d_i M_i + s_1 Σ M_i, and Σ (s_i − s̄) M_i = Σ d_i M_i − d̄ Σ M_i.
        offset = base if self.estimator == "paper" else -deviation[0] / self.masks
        raw = bank.weighted_sum(deviating + offset * counting) / (self.masks * self.keep)
        return raw.astype(np.float32), changed
