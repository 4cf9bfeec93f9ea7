"""What all methods have in common that hide parts of an image and read only the scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.contract.arguments import check_fields
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.describing import DescribedTarget
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import minus_min_over_range, relu_over_max
from onnxplain.explainers.held_interrupt import hold_interrupts
from onnxplain.explainers.hiding.hiding_report import HidingReport
from onnxplain.explainers.hiding.trials import Trials
from onnxplain.explainers.masked.black_box import AskedTarget, BlackBox, ScoreFunction, View, WholeOutputs
from onnxplain.explainers.masked.explained_output import ExplainOutput
from onnxplain.explainers.masked.fill import Fill, check_fill
from onnxplain.explainers.masked.mask_form import AnyDraw, MaskForm
from onnxplain.explainers.masked.masked_scores import open_masked_scores
from onnxplain.explainers.masked.open_black_box import open_black_box
from onnxplain.explainers.needs import CLASSES_OR_BOXES, Need
from onnxplain.explainers.passes import Passes
from onnxplain.explainers.progress import Progress
from onnxplain.explainers.regions import CAM_THRESHOLD
from onnxplain.runtime.arrays import FloatArray
from onnxplain.runtime.detection.detection_target import DetectionTarget
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.target import ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True, eq=False)
class HidingTask:
    """One image and its targets, ready to be tried. `progress`, `stop`: see `Trials`."""

    black_box: BlackBox
    view: View
    whole: WholeOutputs
    placed: Sequence[PlacedTarget]
    batch_size: int | None
    progress: Callable[[int, int], None]
    stop: Callable[[], bool]

    def trials(self, form: MaskForm[AnyDraw], planned: int) -> Trials[AnyDraw]:
        """The copies that masks of this form make."""
        scores = open_masked_scores(self.black_box, self.view, form, self.batch_size, self.placed, self.whole)
        return Trials(scores, planned, self.progress, self.stop)

    def of(self, placed: PlacedTarget, part: int, parts: int) -> HidingTask:
        """One of the targets alone, the `part`-th of `parts` pieces of the work."""
        return replace(
            self,
            placed=[placed],
            progress=lambda done, planned: self.progress(part * planned + done, parts * planned),
        )


@dataclass(frozen=True, eq=False)
class HiddenMap:
    """The raw map of one target, float32 (H, W).

    `changed`: whether any copy changed the score. `finite`: whether all scores were numbers.
    """

    raw: FloatArray
    changed: bool
    report: HidingReport
    finite: bool = True


@dataclass(frozen=True)
class HidingExplainer(Explainer):
    """Base of the methods that hide parts of an image and read only the scores. Targets of an image share the copies.

    `score_function`: an `Engine`, or any callable, see `RISE`, with its `input_size_hw`.
    `evaluations`: forward passes per image, the unmasked image included; None: the method's usual number. Below what
    the method needs OnnxplainError is raised with that number.
    `batch_size`: copies per run of the model (None: the fastest; 8 for a callable). The result does not depend on it,
    up to the model's own rounding.
    `fill`: what hidden pixels show: "mean", "blur", a colour (r, g, b), another image (a path, a PIL image, an array),
    or "inpaint": filled in from the pixels that show, anew for every copy. See `RISE` for the first three.
    `explain_output`: "box": the score times the IoU of the predicted box with the box of the unmasked image.
    `progress(done, total)`: called after each run of the model; counts copies over all images of the call.

    `Explanation.report` is a `HidingReport`. Status "constant": no copy changed the score. Of a detector, detections
    are explained with the similarity of D-RISE. Box coordinates are refused.
    """

    score_function: Engine | ScoreFunction
    input_size_hw: tuple[int, int] | None = None
    evaluations: int | None = None
    batch_size: int | None = None
    fill: Fill = "mean"
    explain_output: ExplainOutput = "score"
    progress: Progress | None = None

    needs: ClassVar[Need] = CLASSES_OR_BOXES
    takes_aims: ClassVar[bool] = True
    # Whether the map says for and against; else it only says how much.
    signed: ClassVar[bool] = True
    smooth: ClassVar[bool] = False
    heat_from_zero: ClassVar[bool] = True
    default_threshold: ClassVar[float] = CAM_THRESHOLD

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("evaluations", "batch_size"):
            found = getattr(self, name)
            if found is not None and found < 1:
                raise OnnxplainError(f"{name}: found {found}, expected at least 1")
        check_fill(self.fill, smooth=self.name if self.smooth else None)
        self._black_box()
        self._check_options()

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`."""
        return Passes(forward=self.forward_passes)

    @property
    @abstractmethod
    def forward_passes(self) -> int:
        """Forward passes for one target of one image, before the image is known. Superpixels can change it a little."""

    @abstractmethod
    def _check_options(self) -> None:
        """Raise OnnxplainError for options out of range, before an image is seen."""

    @abstractmethod
    def _map(self, task: HidingTask) -> list[HiddenMap]:
        """A map per target."""

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError that a call would raise for this target. The model is not run."""
        self._aim(self._black_box(), target)

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation per target; with "all", one per detection."""
        black_box = self._black_box()
        return self._explain(black_box, image, [self._aim(black_box, target) for target in targets], 0, 1)

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        black_box = self._black_box()
        # Check all targets before the first of many forward passes.
        aims = [self._aim(black_box, target) for target in targets]
        if any(isinstance(aim, DetectionTarget) and aim.every for aim in aims):
            raise OnnxplainError("target: found all, expected one detection per image: use for_targets(image, ['all'])")
        explanations: list[Explanation] = []
        for position, (image, aim) in enumerate(zip(images, aims, strict=True)):
            explanations += self._explain(black_box, image, [aim], position, len(images))
        return explanations

    def _explain(
        self, black_box: BlackBox, image: ImageLike, aims: Sequence[AskedTarget], done: int, images: int
    ) -> list[Explanation]:
        """The explanations of one image. `done` of the `images` are already explained."""

        def report_progress(copies: int, planned: int) -> None:
            if self.progress is not None:
                self.progress(done * planned + copies, images * planned)

        view = black_box.look(image)
        whole = black_box.see_whole(view)
        placed = black_box.place(aims, view, whole)
        if not placed:
            return []
        described = [black_box.describe(each, view, whole) for each in placed]
        with hold_interrupts() as held:
            task = HidingTask(black_box, view, whole, placed, self.batch_size, report_progress, held.take)
            maps = self._map(task)
            if any(each.report.interrupted for each in maps) and (done + 1 < images or not self.stoppable):
                raise KeyboardInterrupt
            return [self._finish(found, each, view) for found, each in zip(maps, described, strict=True)]

    def _finish(self, found: HiddenMap, explained: DescribedTarget, view: View) -> Explanation:
        raw = found.raw if found.changed else np.zeros_like(found.raw)
        raw = raw if found.finite else np.full_like(raw, np.nan)
        if not found.changed or not self.heat_from_zero:
            heatmap, status = minus_min_over_range(raw, view.frame)
        else:
            heatmap, status = relu_over_max(raw, view.frame)
        return Explanation(
            heatmap=heatmap,
            raw=raw,
            status=status,
            method=self.name,
            target=explained.target,
            target_name=f"box of {explained.name}" if self.explain_output == "box" else explained.name,
            score=explained.score,
            label=explained.label,
            head=explained.head,
            answers=explained.answers,
            layer=None,
            frame=view.frame,
            evaluations=1 + found.report.copies,
            prediction=explained.prediction,
            detection=explained.detection,
            default_threshold=self.default_threshold,
            unit=self.unit,
            heat_from_zero=self.heat_from_zero,
            report=found.report,
        )

    def _black_box(self) -> BlackBox:
        return open_black_box(self.score_function, self.input_size_hw, self.fill, self.explain_output, self.name)

    def _aim(self, black_box: BlackBox, target: Target) -> AskedTarget:
        aim = black_box.aim(target)
        if not self.signed and isinstance(aim, ResolvedTarget) and aim.sign < 0:
            raise UnsupportedError(
                f"{self.name}: found not:, expected a target alone: the method says how much a place matters, not in "
                "which direction; use shap, occlusion or grad-cam"
            )
        return aim
