"""What all methods have in common that take the gradient at the pixels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.contract import INPUT_LAYER, LayerSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.observing import PlacedActivations, observe_placed, run_gradients
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.cam.layer_explainer import LayerExplainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.engine_box import view_of
from onnxplain.explainers.method_report import MethodReport
from onnxplain.explainers.needs import INPUT_GRADIENT, Need
from onnxplain.explainers.passes import Passes
from onnxplain.explainers.progress import Progress
from onnxplain.runtime.arrays import DoubleArray, FloatArray
from onnxplain.runtime.sessions.batches import IMAGES_AT_ONCE
from onnxplain.runtime.target import ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True, eq=False)
class PixelMap:
    """The raw map of one target, float64 (H, W), in the pixels of the model's input, and the method's report."""

    raw: DoubleArray
    report: MethodReport | None = None


@dataclass(frozen=True)
class PixelExplainer(LayerExplainer):
    """Base of the methods at the input. x is the image as the network computes with it, [C, H, W]; g = ∂y/∂x.

    The file must have the layer `input` (`onnxplain instrument --layer input --layer auto`); `onnxplain explain` adds
    it on the way. `raw`: float32 (H, W), a number per pixel of the model's input. Every target of an image has copies
    of its own. `progress(done, total)`: called after each batch; counts copies over all images of the call.
    """

    progress: Progress | None = None

    needs: ClassVar[Need] = INPUT_GRADIENT
    # Whether the map says for and against; else it only says how much.
    signed: ClassVar[bool] = True
    # Whether the image itself is all that gets a gradient.
    of_one_pass: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.layer not in (None, INPUT_LAYER):
            raise OnnxplainError(
                f"layer: found {self.layer!r} for {self.name}, which works at the layer {INPUT_LAYER}: leave it out"
            )
        super().__post_init__()
        self._check_options()

    def _check_options(self) -> None:
        """Raise OnnxplainError for options out of range."""
        return

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """All but `layer`, which says nothing here."""
        return tuple(name for name in super().option_names() if name != "layer")

    @property
    def differentiates(self) -> bool:
        """Always."""
        return True

    @property
    def copies(self) -> int:
        """How many copies of an image get a gradient."""
        return 1

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`; the image itself is a run of its own before the copies."""
        return Passes(gradient=1) if self.of_one_pass else Passes(forward=1, gradient=self.copies)

    @abstractmethod
    def _map(self, view: View, seen: PlacedActivations, report: Progress) -> PixelMap:
        """The map of a target of one image.

        `view`: its pixels for the model's input, and the baseline. `seen`: x and the settled target, of a batch of one,
        with g if the method is `of_one_pass`.
        """

    def _view(self, image: ImageLike) -> View:
        """The image as the model's input, and the mean colour as what hides it."""
        return view_of(self.engine, image, "mean")

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the image per target."""
        return self._explain_all([image] * len(targets), targets)

    def _layers(self) -> tuple[LayerSpec, ...]:
        return tuple(layer for layer in self.engine.spec.layers if layer.name == INPUT_LAYER)

    @property
    def _evaluations_per_layer(self) -> int:
        return 1 if self.of_one_pass else 1 + self.copies

    def _aim(self, target: Target) -> ResolvedTarget:
        aim = super()._aim(target)
        if not self.signed and aim.sign < 0:
            raise UnsupportedError(
                f"{self.name}: found not:, expected a target alone: the method says how much a place matters, not in "
                "which direction; use input-x-gradient or grad-cam"
            )
        return aim

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        # Check all targets before the first of many passes.
        aims = [self._aim(target) for target in targets]
        explanations = []
        for position, (image, aim) in enumerate(zip(images, aims, strict=True)):
            (layer,) = self._layers()
            seen = observe_placed(self.engine, image, self._place(image, [aim]), layer, gradients=self.of_one_pass)
            with np.errstate(invalid="ignore", over="ignore"):
                found = self._map(self._view(image), seen, self._share_of(position, len(images)))
            explanations.append(self._finish(seen, found))
        return explanations

    def _finish(self, seen: PlacedActivations, found: PixelMap) -> Explanation:
        raw = found.raw.astype(np.float32)
        frame = self._frame_of(seen.layer, raw[None])
        return replace(self._explanation(seen, 0, raw, map_frame=frame), report=found.report)

    def _share_of(self, position: int, count: int) -> Progress:
        def report(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(position * total + done, count * total)

        return report

    def _gradients(self, batch_nchw: FloatArray, placed: PlacedTarget) -> tuple[FloatArray, FloatArray]:
        """x and g of copies, each (N, C, H, W)."""
        (layer,) = self._layers()
        return run_gradients(self.engine, batch_nchw, placed, layer)


def in_parts(count: int) -> list[slice]:
    """Copies that run together."""
    return [slice(start, min(start + IMAGES_AT_ONCE, count)) for start in range(0, count, IMAGES_AT_ONCE)]
