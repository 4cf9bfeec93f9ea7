"""RISE (Petsiuk et al. 2018): find the pixels that raise a score, using only the scores of randomly masked images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from onnxplain.contract.arguments import check_fields
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.held_interrupt import hold_interrupts
from onnxplain.explainers.masked.black_box import AskedTarget, BlackBox, ScoreFunction, View, WholeOutputs
from onnxplain.explainers.masked.explained_output import ExplainOutput
from onnxplain.explainers.masked.fill import Fill, check_fill
from onnxplain.explainers.masked.masked_scores import open_masked_scores
from onnxplain.explainers.masked.masks import MaskGeometry
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.explainers.needs import CLASSES_OR_BOXES, Need
from onnxplain.explainers.passes import Passes
from onnxplain.explainers.progress import Progress
from onnxplain.explainers.rise.class_maps import map_all_classes
from onnxplain.explainers.rise.estimator import Estimator, EstimatorName, find_estimator
from onnxplain.explainers.rise.log_linear_map import why_no_model
from onnxplain.explainers.rise.map_estimate import MapEstimator
from onnxplain.explainers.rise.principal_components import find_components
from onnxplain.explainers.rise.samplers import REPLICATES, MaskSampler
from onnxplain.explainers.rise.sampling import RiseMoment, RiseSampling
from onnxplain.explainers.rise.stopping_rule import StoppingRule
from onnxplain.explainers.rise.tally import RiseTally, TallyKey, hash_aims, hash_image
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.detection_target import DetectionTarget
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


# Sums are float64.
_SUM_BYTES = 8
# Memory for the sums of all targets of an image: 26 MB per target at 640 × 640.
_MOST_BYTES = 2**30
_LEAST_EVALUATIONS = 2


@dataclass(frozen=True)
class RISE(Explainer):
    """Importance of a pixel = the target's expected score if a random mask shows that pixel.

    ``S(x) = E[s · M(x)] / p``, equation 4 of the paper: s is the score for the mask M, p = `keep` the expectation of M
    at every pixel. s is the softmax score of a class, the probability of a label, the number, the cosine with the
    reference, or the mean probability over the region of a mask; for a difference the difference of the two. `raw` is
    the estimate, float32 (H, W), at the model's input size. Every estimator has this expectation.

    `score_function`: an `Engine`, or any callable that takes float32 (N, 3, H, W), RGB, 0–255, the image stretched
    to `input_size_hw`, and returns scores (N, C).
    `masks`: the largest number of masked copies per image; the unmasked image is scored too. Memory does not depend on
    it. `evaluations`: the same as a number of forward passes, the unmasked image included; give one of the two.
    `grid`, `keep`: each of grid × grid cells is shown with probability `keep`; the grid is enlarged bilinearly and
    shifted at random. `grid` None: 8 for classes, and for boxes as many cells as the median box needs. `seed`: mask i
    depends only on the seed and i, so the result does not depend on `batch_size` (None: the fastest), up to the model's
    own rounding.
    `estimator`: "paper" is equation 6, ``1 / (p·N) Σ s_i M_i``. "default" needs several times fewer masks for the same
    map: it uses low-discrepancy masks, centred scores and a control variate. "centred" and "sobol" have one and two of
    these parts; an `Estimator` has those that it names. "log-linear" has the parts of "default", and the heatmap shows
    another map, closer to the true one after a few hundred masks and biased: `raw` shrunk toward the map of a
    log-linear model of the score. `raw`, its standard error and `tolerance` stay those of "default". For scores that
    may be negative (numbers, cosines, differences, negated targets) there is no such model; the report says so and the
    heatmap shows `raw`.
    `fill`: the value of masked pixels. "mean": zero in the normalised input, which is the mean colour of the training
    images; if the file's mean is 0, and for callables, the mean colour of the image. "blur": the blurred image. Or a
    colour (r, g, b), 0–255, or another image (a path, a PIL image, an array).
    `tolerance`: stop when the standard error (root mean square) is below this share of the map's standard deviation;
    checked after every 64 masks from 128 on. `budget_seconds`: stop after this time per image.
    `explain_output`: "box": the score times the IoU of the predicted box with the box of the unmasked image (D-RISE for
    one box), for an engine with a box head.
    `progress(done, total)`: called after each batch; counts masked forward passes over all images of the call.

    `Explanation.report` is a `SamplingReport`: standard error, number of masks, and why the sampling stopped. Ctrl-C
    stops the sampling of the last or only image with the map so far and stopped = "interrupted"; at earlier images of a
    list, KeyboardInterrupt is raised as usual. Several targets of one image (`for_targets`) share the forward passes.

    A detector's boxes are explained with D-RISE (Petsiuk et al. 2021): s is the largest IoU · class score of all
    candidates, compared with the detection in the unmasked image. `target`: ``dog``, ``dog#2``, ``#3``, ``X,Y``, or a
    `Detection` of `Engine.detect`. With "all", `for_targets` returns an explanation per detection.

    Status "constant": no mask changed the score. Box coordinates are refused as targets. Raises OnnxplainError for
    parameters out of range, and for a callable that fails or returns anything but finite scores of the right shape.
    """

    score_function: Engine | ScoreFunction
    input_size_hw: tuple[int, int] | None = None
    masks: int = 800
    grid: int | None = None
    keep: float = 0.5
    seed: int = 0
    batch_size: int | None = None
    estimator: Estimator | EstimatorName = "default"
    fill: Fill = "mean"
    tolerance: float | None = None
    budget_seconds: float | None = None
    explain_output: ExplainOutput = "score"
    progress: Progress | None = None
    evaluations: int | None = None

    name: ClassVar[str] = "rise"
    needs: ClassVar[Need] = CLASSES_OR_BOXES
    takes_aims: ClassVar[bool] = True
    stoppable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        if self.evaluations is not None:
            if self.evaluations < _LEAST_EVALUATIONS:
                raise OnnxplainError(
                    f"evaluations: found {self.evaluations}, expected at least {_LEAST_EVALUATIONS} for rise: the "
                    "unmasked image and a mask"
                )
            if self.masks != RISE.masks:
                raise OnnxplainError(
                    f"evaluations: found {self.evaluations} beside {self.masks} masks, expected one of the two: "
                    "evaluations are the masks and the unmasked image"
                )
        self._rule()
        if self.batch_size is not None and self.batch_size < 1:
            raise OnnxplainError(f"batch_size: found {self.batch_size}, expected at least 1")
        find_estimator(self.estimator)
        check_fill(self.fill, smooth=self.name)
        self._sampler(self._black_box())

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError that a call would raise for this target. The model is not run.

        For a callable, an index that is too large is not found here: the number of its scores is unknown.
        """
        self._black_box().aim(target)

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation per target, all from the same forward passes. A tolerance applies to each of them.

        With "all", one per detection. More targets than have room in 1 GiB of sums are done one group after another.
        """
        black_box = self._black_box()
        aims = [black_box.aim(target) for target in targets]
        groups = self._open(black_box, image, aims, _MOST_BYTES)
        explanations: list[Explanation] = []
        for position, group in enumerate(groups):
            explanations += self._explain(group, done=position, images=len(groups))
        return explanations

    def stream(
        self, image: ImageLike, target: Target | Sequence[Target] = None, tally: RiseTally | None = None
    ) -> Iterator[RiseMoment]:
        """Yield the map so far: a moment after every 64 masks, and one at the end. `target`: one target or a list.

        A moment's `explanation()` and `relative_error` are computed on request. Its `tally` holds everything needed to
        continue later: pass it as `tally`. The result is then bit for bit that of an uninterrupted run, if the model's
        scores are reproducible. Raises OnnxplainError for a tally of another image, target, seed, grid, size or
        estimator, and where there is no target, such as "all" of an image without detections.
        """
        black_box = self._black_box()
        targets = list(target) if isinstance(target, list | tuple) else [cast("Target", target)]
        samplings = self._open(black_box, image, [black_box.aim(each) for each in targets])
        if not samplings:
            raise OnnxplainError("target: found none to explain, expected one or more: name a target that is there")
        (sampling,) = samplings
        if tally is not None:
            tally.check(sampling.key)
        return sampling.moments(tally or sampling.begin(), self._rule(), self.progress)

    def all_classes(self, image: ImageLike) -> FloatArray:
        """The raw map of every class, float32 (C, H, W), from one set of masks; see `map_all_classes`.

        There is no standard error. Raises OnnxplainError if `tolerance` or `budget_seconds` is set.
        """
        for name, bound in (("tolerance", self.tolerance), ("budget_seconds", self.budget_seconds)):
            if bound is not None:
                raise OnnxplainError(f"{name}: found {bound}, expected None: maps of all classes always use all masks")
        black_box = self._black_box()
        if black_box.explains == "detection":
            raise UnsupportedError("all_classes: found a detector, expected a model with classes: use for_targets()")
        view, sampler = black_box.look(image), self._sampler(black_box)
        scores = open_masked_scores(black_box, view, sampler.geometry, self.batch_size)
        return map_all_classes(scores, sampler, self._maps(sampler), self._most_masks, self.progress)

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        black_box = self._black_box()
        # Check all targets before the first of many forward passes.
        aims = [black_box.aim(target) for target in targets]
        if any(isinstance(aim, DetectionTarget) and aim.every for aim in aims):
            raise OnnxplainError("target: found all, expected one detection per image: use for_targets(image, ['all'])")
        explanations: list[Explanation] = []
        for position, (image, aim) in enumerate(zip(images, aims, strict=True)):
            (sampling,) = self._open(black_box, image, [aim])
            explanations += self._explain(sampling, done=position, images=len(images))
        return explanations

    def _explain(self, sampling: RiseSampling, *, done: int, images: int) -> list[Explanation]:
        """The explanations of one image. `done` of the `images` are already explained."""

        def report_progress(masks: int, most: int) -> None:
            if self.progress is not None:
                self.progress(done * most + masks, images * most)

        begun = sampling.begin()
        with hold_interrupts() as held:
            for moment in sampling.moments(begun, self._rule(), report_progress, fleeting=True, interrupted=held.take):
                last = moment
            if last.stopped == "interrupted" and done + 1 < images:
                raise KeyboardInterrupt
            return last.explanations()

    def _open(
        self, black_box: BlackBox, image: ImageLike, aims: Sequence[AskedTarget], most_bytes: float = math.inf
    ) -> list[RiseSampling]:
        """The sampling of an image, in parts if the sums over the masks of all targets take more than `most_bytes`."""
        view = black_box.look(image)
        whole = black_box.see_whole(view)
        placed = black_box.place(aims, view, whole)
        sampler = self._sampler(black_box, placed)
        height, width = sampler.geometry.input_size_hw
        size = max(1, int(min(len(placed), most_bytes // (height * width * REPLICATES * _SUM_BYTES))))
        parts = [placed[start : start + size] for start in range(0, len(placed), size)]
        return [self._open_part(black_box, view, whole, sampler, part) for part in parts]

    def _open_part(
        self, black_box: BlackBox, view: View, whole: WholeOutputs, sampler: MaskSampler, placed: Sequence[PlacedTarget]
    ) -> RiseSampling:
        scores = open_masked_scores(black_box, view, sampler.geometry, self.batch_size, placed, whole)
        key = TallyKey(
            seed=self.seed,
            grid=sampler.geometry.grid,
            keep=self.keep,
            estimator=str(find_estimator(self.estimator)),
            explain_output=black_box.explains,
            input_size_hw=black_box.input_size_hw,
            targets=tuple(each.index for each in placed),
            image=hash_image(view.pixels, view.hidden),
            aims=hash_aims(placed),
        )
        described = tuple(black_box.describe(each, view, whole) for each in placed)
        log_linear = find_estimator(self.estimator).log_linear
        no_models = tuple(why_no_model(each) for each in placed)
        return RiseSampling(view, scores, sampler, self._maps(sampler), key, described, log_linear, no_models)

    def _maps(self, sampler: MaskSampler) -> MapEstimator:
        estimator = find_estimator(self.estimator)
        components = find_components(sampler.geometry) if estimator.control_variate else None
        return MapEstimator(sampler.geometry, estimator.centred, components)

    def _black_box(self) -> BlackBox:
        return open_black_box(self.score_function, self.input_size_hw, self.fill, self.explain_output)

    def _sampler(self, black_box: BlackBox, placed: Sequence[PlacedTarget] = ()) -> MaskSampler:
        grid = black_box.usual_grid(placed) if self.grid is None else self.grid
        geometry = MaskGeometry(black_box.input_size_hw, grid, self.keep)
        return find_estimator(self.estimator).open_sampler(geometry, self.seed)

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`; at most, if a tolerance or a time stops the work before."""
        return Passes(forward=1 + self._most_masks)

    @property
    def _most_masks(self) -> int:
        return self.masks if self.evaluations is None else self.evaluations - 1

    def _rule(self) -> StoppingRule:
        return StoppingRule(self._most_masks, self.tolerance, self.budget_seconds)
