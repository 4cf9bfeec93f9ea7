"""What all methods have in common that read the attention matrices of a transformer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnxplain.contract import ATTENTION_LAYER, AttentionSpec, LayerSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.observing import PlacedActivations, observe_layers
from onnxplain.explainers.cam.layer_explainer import LayerExplainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import minus_min_over_range
from onnxplain.explainers.needs import ATTENTION, Need
from onnxplain.explainers.passes import Passes
from onnxplain.explainers.regions import RISE_THRESHOLD
from onnxplain.runtime.arrays import DoubleArray
from onnxplain.runtime.sessions.many_targets import targets_at_once
from onnxplain.runtime.target import ResolvedTarget, Target

if TYPE_CHECKING:
    from onnxplain.contract import HeadSpec
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class AttentionExplainer(LayerExplainer):
    """Base of the methods of attention. A_l is the matrix of layer l, a row for each token, of each head of attention.

    What they compute is a number for each token. Shown are the tokens of the patches, as a map of their grid, from its
    least value to its largest. Where the model's head reads several tokens, such as a mean of all patches, the map is
    the mean of their rows.

    The file must have the attention (`onnxplain instrument --layer attention`); `onnxplain explain` adds it on the way.
    `raw`: float32 (h, w), a number per patch.
    """

    needs: ClassVar[Need] = ATTENTION
    uses_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.layer is not None:
            raise OnnxplainError(
                f"layer: found {self.layer!r} for {self.name}, which works on all layers of attention: leave it out"
            )
        super().__post_init__()

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """All but `layer`, which says nothing here."""
        return tuple(name for name in super().option_names() if name != "layer")

    @property
    def differentiates(self) -> bool:
        """Whether the method uses gradients."""
        return self.uses_gradients

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`: all layers come from one run."""
        return Passes(gradient=1) if self.uses_gradients else Passes(forward=1)

    @abstractmethod
    def follow(self, matrices: Sequence[DoubleArray], gradients: Sequence[DoubleArray], rows: slice) -> DoubleArray:
        """A number for each token, float64 (T,): the method's formula for one target of one image.

        `matrices`: those of the layers, from the first to the last, float64 (heads, T, T). `gradients`: ∂y/∂A of the
        same shapes; empty where the method needs none. `rows`: the tokens that the model's head reads.
        """

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the image per target; targets share forward passes as far as memory allows."""
        aims = [self._aim(target) for target in targets]
        placed = self._place(image, aims) if aims else []
        size = targets_at_once(self._layers(), together=True) if self.uses_gradients else len(placed)
        explanations = []
        for start in range(0, len(placed), size):
            part = placed[start : start + size]
            seen = observe_layers(self.engine, image, part, self._layers(), gradients=self.uses_gradients)
            explanations += [self._of_row(seen, row) for row in range(len(part))]
        return explanations

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        for target in targets:
            # Check all targets before the first run.
            self._aim(target)
        return [self.for_targets(image, [target])[0] for image, target in zip(images, targets, strict=True)]

    def _aim(self, target: Target) -> ResolvedTarget:
        aim = super()._aim(target)
        if self._read_by(aim.head) is None:
            raise UnsupportedError(
                f"{self.name}: found the head {aim.head.name!r} ({aim.head.kind}), which does not read one token or "
                "the mean of some, expected a head that does: use grad-cam"
            )
        return aim

    def _read_by(self, head: HeadSpec) -> slice | None:
        names = [each.name for each in self.engine.spec.heads]
        read = self._attention.reads[names.index(head.name)]
        return None if read is None else slice(*read)

    def _of_row(self, seen: Sequence[PlacedActivations], row: int) -> Explanation:
        """The explanation of one target, from the activations of all layers."""
        attention = self._attention
        rows = self._read_by(seen[0].placed[row].head)
        assert rows is not None
        matrices = [each.features[row].astype(np.float64) for each in seen]
        gradients = [each.gradients[row].astype(np.float64) for each in seen if each.gradients is not None]
        with np.errstate(invalid="ignore", over="ignore"):
            tokens = self.follow(matrices, gradients, rows)
        patches = tokens[attention.tokens_before : len(tokens) - attention.tokens_after]
        raw = patches.reshape(attention.size_hw).astype(np.float32)
        frame = self.engine.spec.frame_of(replace(seen[0].layer, size_hw=attention.size_hw, frame=attention.frame))
        explanation = self._explanation(seen[0], row, raw, ATTENTION_LAYER, frame)
        heatmap, status = minus_min_over_range(raw, explanation.frame, frame)
        return replace(
            explanation,
            heatmap=heatmap,
            status=status,
            heat_from_zero=False,
            default_threshold=RISE_THRESHOLD,
        )

    @property
    def _attention(self) -> AttentionSpec:
        attention = self.engine.spec.attention
        assert attention is not None
        return attention

    def _layers(self) -> tuple[LayerSpec, ...]:
        return self._attention.layers

    def _evaluations(self, layer: LayerSpec) -> int:
        """All layers come from the run that is counted for the first."""
        return int(layer == self._layers()[0])


def mean_of_heads(matrices: DoubleArray) -> DoubleArray:
    """The mean over the heads of attention, (heads, T, T) → (T, T)."""
    mean: DoubleArray = matrices.mean(axis=0)
    return mean
