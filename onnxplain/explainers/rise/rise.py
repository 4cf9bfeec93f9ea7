"""RISE (Petsiuk et al. 2018): which pixels raise a score, from scores under random masks alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.masked.black_box import BlackBox, ScoreFunction, open_black_box
from onnxplain.explainers.masked.explained_output import ExplainOutput
from onnxplain.explainers.masked.fill import Fill
from onnxplain.explainers.masked.masked_scores import open_masked_scores
from onnxplain.explainers.masked.masks import MaskGeometry
from onnxplain.explainers.progress import Progress
from onnxplain.explainers.rise.class_maps import map_all_classes
from onnxplain.explainers.rise.estimator import Estimator, EstimatorName, find_estimator
from onnxplain.explainers.rise.map_estimate import MapEstimator
from onnxplain.explainers.rise.principal_components import find_components
from onnxplain.explainers.rise.samplers import MaskSampler
from onnxplain.explainers.rise.sampling import RiseMoment, RiseSampling
from onnxplain.explainers.rise.stopping_rule import StoppingRule
from onnxplain.explainers.rise.tally import RiseTally, TallyKey, hash_image
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.target import PREDICTED_CLASS, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class RISE(Explainer):
    """Importance of a pixel = the target's expected score where a random mask shows that pixel.

    ``S(x) = E[s · M(x)] / p``, equation 4 of the paper: s the score under the mask M, p = `keep` the expectation of
    M at every pixel. `raw` estimates it, float32 (H, W), the model's input size, whatever the estimator.

    `score_function`: an `Engine`, or any callable that takes float32 (N, 3, H, W), RGB, 0–255, the image stretched
    to `input_size_hw`, and returns scores (N, C).
    `masks`: at most how many masked copies of an image are scored, beside the unmasked one; memory does not depend
    on it. `grid`, `keep`: see `MaskGeometry`. `seed`: mask i depends on it and on i only, so the result is that of
    any other `batch_size` (None: the fastest), up to the model's own rounding.
    `estimator`: "paper" is equation 6, ``1 / (p·N) Σ s_i M_i``; "default" needs several times fewer masks for the same
    map, from low-discrepancy masks, centred scores and a control variate; see `Estimator` for the parts, and
    `ESTIMATORS` for the names.
    `fill`: what a masked pixel shows. "mean": zero of the normalised input, the mean colour of the training images;
    where the file's mean is 0, and for callables, the image's own mean colour. "blur": the image, blurred. Or an
    (r, g, b), 0–255.
    `tolerance`: stop when the standard error (root mean square) is below this share of the map's standard deviation,
    looked at after every 64 masks from 128 on. `budget_seconds`: stop when so much time has passed for an image.
    `explain_output`: "box": the score times the overlap of the box predicted with that of the unmasked image
    (D-RISE for one box), for an engine with a box head.
    `progress(done, total)`: called after each batch with masked forward passes over all images of the call.

    `Explanation.report` is a `SamplingReport`: standard error, masks, what ended the sampling. Ctrl-C during the
    sampling ends it with the map so far and stopped = "interrupted"; in a list of images only at the last one, else
    it is raised as usual. Several targets of one image (`for_targets`) share the forward passes.

    Status "constant": no mask changed the score. Box coordinates are refused as targets. Raises OnnxplainError for
    parameters out of range, and for a callable that fails or returns anything but finite scores of the right shape.
    """

    score_function: Engine | ScoreFunction
    input_size_hw: tuple[int, int] | None = None
    masks: int = 800
    grid: int = 8
    keep: float = 0.5
    seed: int = 0
    batch_size: int | None = None
    estimator: Estimator | EstimatorName = "default"
    fill: Fill = "mean"
    tolerance: float | None = None
    budget_seconds: float | None = None
    explain_output: ExplainOutput = "score"
    progress: Progress | None = None

    name: ClassVar[str] = "rise"

    def __post_init__(self) -> None:
        self._rule()
        if self.batch_size is not None and self.batch_size < 1:
            raise OnnxplainError(f"batch_size: found {self.batch_size}, expected at least 1")
        find_estimator(self.estimator)
        self._sampler(self._black_box())

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError with which a call refuses this target; the model is not run.

        How many scores a callable gives is not known before it is called.
        """
        self._black_box().resolve_target(target)

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation per target, all from the same forward passes; a tolerance holds for each of them."""
        black_box = self._black_box()
        indices = [black_box.resolve_target(target) for target in targets]
        return self._explain(self._open(black_box, image, indices), done=0, images=1)

    def stream(
        self, image: ImageLike, target: Target | Sequence[Target] = None, tally: RiseTally | None = None
    ) -> Iterator[RiseMoment]:
        """The map as it comes: a moment after every 64 masks, and one at the end; `target`: one, or a list of them.

        A moment's `explanation()` and `relative_error` are computed when asked for; `tally` holds all that is needed
        to go on from there: given here, the result is bit for bit that of an unbroken run, if the model's scores are.
        Raises OnnxplainError for the tally of another image, target, seed, grid, size or estimator.
        """
        black_box = self._black_box()
        targets = list(target) if isinstance(target, list | tuple) else [cast("Target", target)]
        sampling = self._open(black_box, image, [black_box.resolve_target(each) for each in targets])
        if tally is not None:
            tally.check(sampling.key)
        return sampling.moments(tally or sampling.begin(), self._rule(), self.progress)

    def all_classes(self, image: ImageLike) -> FloatArray:
        """The raw map of every class, float32 (C, H, W), from one set of masks; see `map_all_classes`.

        Without a standard error: raises OnnxplainError where `tolerance` or `budget_seconds` is set.
        """
        for name, bound in (("tolerance", self.tolerance), ("budget_seconds", self.budget_seconds)):
            if bound is not None:
                raise OnnxplainError(f"{name}: found {bound}, expected None for all classes, which take all masks")
        sampling = self._open(self._black_box(), image, [PREDICTED_CLASS])
        return map_all_classes(sampling.scores, sampling.sampler, sampling.estimator, self.masks, self.progress)

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        black_box = self._black_box()
        # Every target is checked before the first of many forward passes.
        indices = [black_box.resolve_target(target) for target in targets]
        explanations: list[Explanation] = []
        for position, (image, index) in enumerate(zip(images, indices, strict=True)):
            sampling = self._open(black_box, image, [index])
            explanations += self._explain(sampling, done=position, images=len(images))
        return explanations

    def _explain(self, sampling: RiseSampling, *, done: int, images: int) -> list[Explanation]:
        """The explanations of one image, the one after `done` others of `images`."""

        def report_progress(masks: int, most: int) -> None:
            if self.progress is not None:
                self.progress(done * most + masks, images * most)

        begun = sampling.begin()
        for moment in sampling.moments(begun, self._rule(), report_progress, fleeting=True):
            last = moment
        if last.stopped == "interrupted" and done + 1 < images:
            raise KeyboardInterrupt
        return last.explanations()

    def _open(self, black_box: BlackBox, image: ImageLike, targets: Sequence[int]) -> RiseSampling:
        view = black_box.look(image)
        sampler = self._sampler(black_box)
        scores = open_masked_scores(black_box, view, sampler.geometry, self.batch_size)
        estimator = find_estimator(self.estimator)
        key = TallyKey(
            seed=self.seed,
            grid=self.grid,
            keep=self.keep,
            estimator=str(estimator),
            explain_output=self.explain_output,
            input_size_hw=black_box.input_size_hw,
            targets=tuple(_choose(target, scores.unmasked) for target in targets),
            image=hash_image(view.pixels, view.hidden),
        )
        components = find_components(sampler.geometry) if estimator.control_variate else None
        maps = MapEstimator(sampler.geometry, estimator.centred, components)
        return RiseSampling(black_box, view, scores, sampler, maps, key)

    def _black_box(self) -> BlackBox:
        return open_black_box(self.score_function, self.input_size_hw, self.fill, self.explain_output)

    def _sampler(self, black_box: BlackBox) -> MaskSampler:
        geometry = MaskGeometry(black_box.input_size_hw, self.grid, self.keep)
        return find_estimator(self.estimator).open_sampler(geometry, self.seed)

    def _rule(self) -> StoppingRule:
        return StoppingRule(self.masks, self.tolerance, self.budget_seconds)


def _choose(target: int, scores: FloatArray) -> int:
    """A class index that exists: the target, or the class with the largest score."""
    if target >= len(scores):
        raise OnnxplainError(f"target: found {target}, expected 0 to {len(scores) - 1}: there are {len(scores)} scores")
    return int(scores.argmax()) if target == PREDICTED_CLASS else target
