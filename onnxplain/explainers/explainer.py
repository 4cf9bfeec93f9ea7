"""The call that all methods share: one image or many, one target or one per image."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, overload

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.needs import SCORES, Need
from onnxplain.runtime.image import ImageLike, is_image, list_images
from onnxplain.runtime.target import Target, spread_target


class Explainer(ABC):
    """A method of explanation with its parameters; it keeps no state between calls.

    Call it with an image (path, PIL image or uint8 RGB array (H, W, 3)) for one `Explanation`, or with a list or
    any other iterable of images for a list. `target`: class index, label, ``"box:0"``…``"box:3"`` where the method and
    the model allow it, or None for the class that the model predicts; one for all images, or a list with one entry per
    image. Raises OnnxplainError for a target that does not exist and for lists of different lengths.

    A method of your own is a subclass with a `name`, its `needs` and a constructor that takes an engine first; what
    else the constructor takes are its options. It need not be in `METHODS`.
    """

    name: ClassVar[str]
    needs: ClassVar[Need] = SCORES

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

    def accepts(self, target: Target) -> bool:
        """Whether a call takes this target, for any image; the model is not run. `check_target` says why not."""
        try:
            self.check_target(target)
        except OnnxplainError:
            return False
        return True

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError with which a call refuses this target; the model is not run.

        By default no target is refused: a method that cannot explain every target overrides this.
        """
        return

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """The options of the constructor, in its order: everything behind the engine."""
        _, *options = inspect.signature(cls).parameters.values()
        return tuple(each.name for each in options if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY))

    @classmethod
    def check_definition(cls) -> None:
        """Raise OnnxplainError, with what to add, for a class that lacks what a method has to have."""
        if not isinstance(getattr(cls, "name", None), str):
            raise OnnxplainError(f'{cls.__name__}: found no name, expected a method\'s: write name = "my-method"')
        if not isinstance(cls.needs, Need):
            raise OnnxplainError(
                f"{cls.__name__}: found needs {cls.needs!r}, expected a Need: take one of onnxplain.explainers.needs"
            )
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise OnnxplainError(f"{cls.__name__}: found no {', '.join(missing)}, expected it: define it in the class")
        if not inspect.signature(cls).parameters:
            raise OnnxplainError(f"{cls.__name__}: found a constructor without parameters, expected an engine first")

    @abstractmethod
    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        """One explanation per image; `targets` holds one entry per image, `images` at least one."""
