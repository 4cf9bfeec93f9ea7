"""Augmented Grad-CAM (Morbidelli et al. 2020): one heatmap of high resolution from the Grad-CAMs of many copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.observing import PlacedActivations, observe_placed, run_gradients
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.augmented.aggregation import aggregate
from onnxplain.explainers.augmented.downsampling import Downsampling, build_downsampling, choose_points
from onnxplain.explainers.augmented.published_optimiser import ADAM_STEPS, descend
from onnxplain.explainers.augmented.random_copies import RandomCopies, Transforms, warp_copies, warp_region
from onnxplain.explainers.augmented.super_resolution import SuperResolution, check_weights, solve
from onnxplain.explainers.augmented.super_resolution_report import SuperResolutionReport
from onnxplain.explainers.cam.grad_cam import GradCAM, has_constant_gradient
from onnxplain.explainers.passes import Passes
from onnxplain.explainers.progress import Progress
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.sessions.batches import IMAGES_AT_ONCE
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.contract import LayerSpec
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.image import ImageLike

Mode = Literal["super-resolution", "mean", "max", "paper"]

# The weights were published for maps of 14 × 14 cells of an input of 224 × 224 pixels.
_PUBLISHED_CELLS, _PUBLISHED_SIDE = 14 * 14, 224


@dataclass(frozen=True)
class _Pass:
    """One pass over the copies: rows of targets, and whether it needs gradients. With gradients there is one row."""

    rows: tuple[int, ...]
    gradients: bool


@dataclass(frozen=True)
class AugmentedGradCAM(GradCAM):
    """The heatmap h that fits the Grad-CAMs of all copies best when it is transformed like each copy.

    ``min over h ≥ 0 of Σ_l ‖D A_l h − g_l‖² + λ L (‖∂x h‖₁ + ‖∂y h‖₁) + μ L ‖h‖²`` (Morbidelli et al. 2020).
    A_l transforms h like copy l. D averages it over the cells of the layer. g_l is the Grad-CAM of copy l after ReLU,
    divided by its maximum. L is the number of copies used. Cells that do not show the image are left out of D A_l h
    and g_l. Copies whose Grad-CAM is nowhere positive are left out. All copies explain the class predicted for the
    image; the region of a mask moves with each copy.

    `copies`, `rotation`, `translation`, `zoom`, `mirror`, `seed`: see `RandomCopies`. Outside the image, a copy is zero
    in the normalised input: the mean colour of the training images. If the file's mean is 0, it is the image's mean
    colour. `mode`: "super-resolution": the formula above; "mean", "max": the maps are warped back and aggregated;
    "paper": the published optimiser, 200 steps of Adam, with one sample point per cell. `points`: sample points per
    side of a cell; None: 4, or as many as keep them at most 4 pixels apart.
    `total_variation`, `ridge`: λ ≥ 0 and μ > 0. The published values fit 14 × 14 cells of 224 × 224 pixels; for other
    sizes they are scaled to the same balance of the three terms, except in mode "paper". `gap`: the relative duality
    gap at which the solver stops.
    `batch_size`: copies in memory at once (None: 8). `progress(done, total)`: called after each batch; counts passes
    over all images of the call.

    `raw` is float32 (H, W), the model's input size, not negative. `report` is a `SuperResolutionReport`. In front of a
    linear head, several classes of one image share a pass, because no gradients are needed. Raises OnnxplainError for
    parameters out of range and if a copy shows nothing of the image; raises UnsupportedError as Grad-CAM does.
    """

    copies: int = 100
    rotation: float = 0.5
    translation: float = 30 / 224
    zoom: float = 1.0
    mirror: bool = False
    seed: int = 0
    mode: Mode = "super-resolution"
    points: int | None = None
    total_variation: float = 0.002
    ridge: float = 0.0001
    gap: float = 0.01
    batch_size: int | None = None
    progress: Progress | None = None

    name: ClassVar[str] = "augmented-grad-cam"
    unit: ClassVar[str] = "gradient · activation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self._layers()) > 1:
            raise OnnxplainError(f"{self.name}: found {len(self._layers())} layers, expected one: give one layer")
        if self.mode not in get_args(Mode):
            raise OnnxplainError(f"mode: found {self.mode!r}, expected one of {', '.join(get_args(Mode))}")
        if self.batch_size is not None and self.batch_size < 1:
            raise OnnxplainError(f"batch_size: found {self.batch_size}, expected at least 1")
        if not 0 < self.gap < 1:
            raise OnnxplainError(f"gap: found {self.gap}, expected a share of the objective between 0 and 1")
        check_weights(self.total_variation, self.ridge)
        # This raises the error for copies that show nothing, before any image is read.
        _ = self._downsampling

    @property
    def _layer(self) -> LayerSpec:
        return self._layers()[0]

    @cached_property
    def _transforms(self) -> Transforms:
        copies = RandomCopies(self.copies, self.rotation, self.translation, self.zoom, self.mirror, self.seed)
        return copies.draw(self.engine.spec.input.size_hw)

    @cached_property
    def _downsampling(self) -> Downsampling:
        input_size_hw, grid_hw = self.engine.spec.input.size_hw, self._layer.size_hw
        frame = self.engine.spec.frame_of(self._layer)
        points = choose_points(input_size_hw, grid_hw, frame) if self.points is None else self.points
        points = 1 if self.mode == "paper" else points
        return build_downsampling(self._transforms, input_size_hw, grid_hw, points, frame)

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`."""
        return Passes(forward=1, gradient=self.copies)

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the image per target. In front of a linear head, all classes share one pass per copy."""
        placed = self._place(image, [self._aim(target) for target in targets])
        return self._explain(image, placed) if placed else []

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        aims = [self._aim(target) for target in targets]
        explanations = []
        for position, (image, aim) in enumerate(zip(images, aims, strict=True)):
            explanations += self._explain(image, self._place(image, [aim]), position, len(images))
        return explanations

    def _explain(
        self, image: ImageLike, placed: Sequence[PlacedTarget], position: int = 0, images: int = 1
    ) -> list[Explanation]:
        """One explanation per target; the image is number `position` of `images`."""
        batch = self.engine.prepare(image)
        seen = observe_placed(self.engine, batch.images[0], placed, self._layer, gradients=False)
        passes = self._plan(seen)
        maps: dict[int, FloatArray] = {}
        for number, planned in enumerate(passes):
            done, total = (position * len(passes) + number) * self.copies, images * len(passes) * self.copies
            maps |= self._map_copies(seen, batch.pixels[0], planned, done, total)
        return [self._conclude(seen, row, maps[first]) for row, first in enumerate(_first_rows(seen.placed))]

    def _plan(self, seen: PlacedActivations) -> list[_Pass]:
        """The passes over the copies: one shared by all targets that need no gradients, one for each other target."""
        rows = dict.fromkeys(_first_rows(seen.placed))
        together = tuple(
            row for row in rows if has_constant_gradient(self.engine.spec, seen.placed[row].index, self._layer)
        )
        alone = [_Pass((row,), gradients=True) for row in rows if row not in together]
        return [_Pass(together, gradients=False), *alone] if together else alone

    def _map_copies(
        self, seen: PlacedActivations, pixels_chw: FloatArray, planned: _Pass, done: int, total: int
    ) -> dict[int, FloatArray]:
        """Grad-CAMs of all copies, float32 (L, h, w), signed, for each row of a pass."""
        layer = self._layer
        maps = {row: np.empty((self.copies, *layer.size_hw), np.float32) for row in planned.rows}
        fill = self._fill(pixels_chw)
        size = self.batch_size or IMAGES_AT_ONCE
        for start in range(0, self.copies, size):
            stop = min(start + size, self.copies)
            count = stop - start
            transforms = self._transforms[start:stop]
            copies = warp_copies(pixels_chw, transforms, fill)
            gradients: FloatArray | None = None
            if planned.gradients:
                placed = seen.placed[planned.rows[0]]
                regions = warp_region(placed.region, transforms, copies.shape[2:])
                features, gradients = run_gradients(self.engine, copies, placed, layer, regions)
            else:
                (features,) = self.engine.run(copies, [layer.features])
            for row in planned.rows:
                activations = PlacedActivations(
                    layer=layer,
                    features=features,
                    gradients=gradients,
                    logits=None,
                    scores=np.broadcast_to(seen.scores[0], (count, len(seen.scores[0]))),
                    target=np.full(count, seen.placed[row].index, np.int64),
                    frames=seen.frames[:1] * count,
                    placed=(seen.placed[row],) * count,
                )
                maps[row][start:stop] = self.weigh(activations)
            if self.progress is not None:
                self.progress(done + stop, total)
        return maps

    def _fill(self, pixels_chw: FloatArray) -> FloatArray:
        if any(self.engine.spec.input.preprocessing.mean):
            return np.zeros(len(pixels_chw), np.float32)
        mean_colour: FloatArray = pixels_chw.mean(axis=(1, 2))
        return mean_colour

    def _conclude(self, seen: PlacedActivations, row: int, maps_lhw: FloatArray) -> Explanation:
        raw, report = self._combine(maps_lhw)
        explanation = self._explanation(seen, row, raw)
        return replace(explanation, evaluations=1 + self.copies, report=report)

    def _combine(self, maps_lhw: FloatArray) -> tuple[FloatArray, SuperResolutionReport]:
        """The heatmap float32 (H, W) from signed Grad-CAMs float32 (L, h, w), and its report."""
        size_hw, operator = self.engine.spec.input.size_hw, self._downsampling
        positive = np.where(operator.seen, np.maximum(maps_lhw, 0), 0).astype(np.float32, copy=False)
        peaks = positive.max(axis=(1, 2))
        used = peaks > 0
        report = SuperResolutionReport(self.mode, self.copies, int(used.sum()))
        if not np.isfinite(peaks).all():
            return np.full(size_hw, np.nan, np.float32), report
        if not used.any():
            return np.zeros(size_hw, np.float32), report
        maps = positive[used] / peaks[used, None, None]
        if self.mode == "mean" or self.mode == "max":
            frame = self.engine.spec.frame_of(self._layer)
            return aggregate(maps, self._transforms[used], size_hw, self.mode, frame), report
        scale_tv, scale_ridge = (1.0, 1.0) if self.mode == "paper" else _balance(size_hw, self._layer.size_hw)
        problem = SuperResolution(
            matrix=operator.matrix[(operator.seen & used[:, None, None]).ravel()],
            maps=maps[operator.seen[used]],
            size_hw=size_hw,
            total_variation=self.total_variation * report.copies_used * scale_tv,
            ridge=self.ridge * report.copies_used * scale_ridge,
        )
        if self.mode == "paper":
            heatmap = descend(problem)
            return heatmap, replace(report, objective=problem.objective(heatmap), iterations=ADAM_STEPS)
        solution = solve(problem, self.gap)
        report = replace(report, objective=solution.objective, gap=solution.gap, iterations=solution.iterations)
        return solution.heatmap, report


def _first_rows(placed: Sequence[PlacedTarget]) -> list[int]:
    """For each target the first row that explains the same."""
    keys = [(each.index, each.sign, each.against, id(each.reference), id(each.region)) for each in placed]
    return [keys.index(key) for key in keys]


def _balance(input_size_hw: tuple[int, int], grid_hw: tuple[int, int]) -> tuple[float, float]:
    """Factors for total variation and ridge that keep the published balance of the three terms.

    The sum over cells grows with the number of cells, the total variation with the input's side, the ridge with its
    square.
    """
    cells = grid_hw[0] * grid_hw[1] / _PUBLISHED_CELLS
    side = math.sqrt(input_size_hw[0] * input_size_hw[1]) / _PUBLISHED_SIDE
    return cells / side, cells / side**2
