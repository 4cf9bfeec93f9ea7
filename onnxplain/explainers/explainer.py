"""The call that all methods share: one image or many, one target or one per image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import overload

from onnxplain.explainers.explanation import Explanation
from onnxplain.runtime.image import ImageLike, is_image, list_images
from onnxplain.runtime.target import Target, spread_target


class Explainer(ABC):
    """A method of explanation with its parameters; it keeps no state between calls.

    Call it with an image (path, PIL image or uint8 RGB array (H, W, 3)) for one `Explanation`, or with a list or
    any other iterable of images for a list. `target`: class index, label, ``"box:0"``…``"box:3"`` where the method and
    the model allow it, or None for the class that the model predicts; one for all images, or a list with one entry per
    image. Raises OnnxplainError for a target that does not exist and for lists of different lengths.
    """

    # A path that is a string is a sequence of strings too; the first signature wins, as it should.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, images: ImageLike, target: Target = ...
    ) -> Explanation: ...

    @overload
    def __call__(self, images: Iterable[ImageLike], target: Target | Sequence[Target] = ...) -> list[Explanation]: ...

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], target: Target | Sequence[Target] = None
    ) -> Explanation | list[Explanation]:
        """One `Explanation` for one image, a list of them for any iterable of images."""
        listed = list_images(images)
        explanations = self._explain_all(listed, spread_target(target, len(listed)))
        return explanations[0] if is_image(images) else explanations

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the same image per target; a method that can shares the model's work among them."""
        return self._explain_all([image] * len(targets), list(targets))

    @abstractmethod
    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        """One explanation per image; `targets` holds one entry per image, `images` at least one."""
