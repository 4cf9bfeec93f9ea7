"""The call that all methods share: one image or many, one target or one per image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast, overload

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.explanation import Explanation
from onnxplain.runtime.results import Prediction
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.contract import ModelSpec
    from onnxplain.runtime.arrays import FloatArray
    from onnxplain.runtime.image import ImageLike


class Explainer(ABC):
    """A method of explanation with its parameters; it keeps no state between calls.

    Call it with an image (path, PIL image or uint8 RGB array (H, W, 3)) for one `Explanation`, or with a list
    of images for a list. `target`: class index, label, ``"box:0"``…``"box:3"`` where the method and the model
    allow it, or None for the class that the model predicts; one for all images, or a list with one entry per
    image. Raises OnnxplainError for a target that does not exist and for lists of different lengths.
    """

    # A path that is a string is a sequence of strings too; the first signature wins, as it should.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, images: ImageLike, target: Target = ...
    ) -> Explanation: ...

    @overload
    def __call__(self, images: Sequence[ImageLike], target: Target | Sequence[Target] = ...) -> list[Explanation]: ...

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], target: Target | Sequence[Target] = None
    ) -> Explanation | list[Explanation]:
        """One `Explanation` for one image, a list of them for a list or tuple of images."""
        listed = list_images(images)
        explanations = self._explain_all(listed, spread_target(target, len(listed)))
        return explanations if isinstance(images, list | tuple) else explanations[0]

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the same image per target; a method that can shares the model's work among them."""
        return self._explain_all([image] * len(targets), list(targets))

    @abstractmethod
    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        """One explanation per image; `targets` holds one entry per image, `images` at least one."""


def list_images(images: ImageLike | Sequence[ImageLike]) -> list[ImageLike]:
    """The images of a list or tuple, at least one; anything else is one image."""
    if not isinstance(images, list | tuple):
        return [cast("ImageLike", images)]
    if not images:
        raise OnnxplainError("images: found an empty list, expected at least one image")
    return list(images)


def spread_target(target: Target | Sequence[Target], count: int) -> list[Target]:
    """One target per image: a list must have `count` entries, anything else goes for all images."""
    if isinstance(target, list | tuple | np.ndarray):
        if len(target) != count:
            raise OnnxplainError(
                f"target: found {len(target)} targets for {count} images, expected one target for all, or one per image"
            )
        return list(target)
    return [cast("Target", target)] * count


def classify(spec: ModelSpec, scores: FloatArray) -> Prediction:
    """The prediction that scores, float32 (C,), stand for; without a box, which scores cannot tell."""
    class_id = int(scores.argmax())
    return Prediction(
        label=spec.label(class_id),
        class_id=class_id,
        score=float(scores[class_id]),
        box_xyxy=None,
        box_source=None,
        scores=scores,
        labels=spec.labels,
    )
