"""The base class of all methods: explain one image or many, with one target or one per image."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, overload

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.needs import SCORES, Need
from onnxplain.explainers.passes import Passes
from onnxplain.runtime.box import Corners
from onnxplain.runtime.heads.aim import beside
from onnxplain.runtime.image import ImageLike, is_image, list_images
from onnxplain.runtime.result_list import ResultList
from onnxplain.runtime.target import Target, is_list, spread_target


class Explainer(ABC):
    """An explanation method with its parameters. It keeps no state between calls.

    Call it with an image (path, PIL image or uint8 RGB array (H, W, 3)) for one `Explanation`, or with any iterable of
    images for a list. `target`: a class index, a label, ``"box:0"``…``"box:3"`` if the method and the model allow it,
    or None for the predicted class; docs/heads.md lists all targets. Give one target for all images, or a list with one
    per image. A list of targets for a single image returns a list with one `Explanation` per target (`for_targets`).
    Raises OnnxplainError for a target that does not exist and for lists of different lengths.

    `against`: explain why the target rather than this entry, y_target − y_against. `like`: the image with whose
    embedding an embedding is compared. `region`: x1, y1, x2, y2 in pixels of the photo, the part of a mask to explain.

    To write a method of your own, subclass this with a `name`, its `needs` and a constructor. The constructor takes an
    engine first; its other parameters are the options. The method need not be in `METHODS`.
    """

    name: ClassVar[str]
    needs: ClassVar[Need] = SCORES
    # What a value of the raw map is, for the colour bar; and whether the method looks at the target at all.
    unit: ClassVar[str] = ""
    uses_target: ClassVar[bool] = True
    # Whether targets may be an `Aim`: one with `against`, `like` or `region`.
    takes_aims: ClassVar[bool] = False
    # Why the method cannot explain the boxes of detectors, if there is a reason of its own.
    no_boxes: ClassVar[str] = ""
    # Whether Ctrl-C ends it with the result so far, and a report that says `interrupted`.
    stoppable: ClassVar[bool] = False

    # A string is also a sequence of strings. The first signature applies, as intended: a string is one path.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        images: ImageLike,
        target: Target = ...,
        *,
        against: int | str | None = ...,
        like: ImageLike | None = ...,
        region: Corners | None = ...,
    ) -> Explanation: ...

    @overload
    def __call__(
        self,
        images: ImageLike,
        target: list[Target] | tuple[Target, ...],
        *,
        against: int | str | None = ...,
        like: ImageLike | None = ...,
        region: Corners | None = ...,
    ) -> list[Explanation]: ...

    @overload
    def __call__(
        self,
        images: Iterable[ImageLike],
        target: Target | Sequence[Target] = ...,
        *,
        against: int | str | None = ...,
        like: ImageLike | None = ...,
        region: Corners | None = ...,
    ) -> list[Explanation]: ...

    def __call__(
        self,
        images: ImageLike | Iterable[ImageLike],
        target: Target | Sequence[Target] = None,
        *,
        against: int | str | None = None,
        like: ImageLike | None = None,
        region: Corners | None = None,
    ) -> Explanation | list[Explanation]:
        """One `Explanation` for one image, a list of them for any iterable of images or for a list of targets."""
        given = {"against": against, "like": like, "region": region}
        unread = [name for name, value in given.items() if value is not None]
        if unread and not self.takes_aims:
            raise UnsupportedError(
                f"{self.name}: found {', '.join(unread)}, expected a target alone: leave it out, or use grad-cam"
            )
        if is_image(images) and is_list(target):
            targets = [beside(each, against, like, region) for each in target]
            if not targets:
                raise OnnxplainError("target: found an empty list, expected at least one target")
            return ResultList(replace(each, image=images) for each in self.for_targets(images, targets))
        listed = list_images(images)
        targets = [beside(each, against, like, region) for each in spread_target(target, len(listed))]
        explanations = self._explain_all(listed, targets)
        named = [replace(each, image=image) for each, image in zip(explanations, listed, strict=True)]
        return named[0] if is_image(images) else ResultList(named)

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the same image per target. If the method can, all targets share the model's work."""
        return self._explain_all([image] * len(targets), list(targets))

    @property
    def passes(self) -> Passes | None:
        """The runs of the model for one target of one image, before the image is known; None: the method cannot say.

        An image can need fewer, and superpixels change the number a little.
        """
        return None

    @property
    def can_stop(self) -> bool:
        """Whether Ctrl-C ends it with the result so far: `stoppable`, or that of the explainer that it wraps."""
        return self.stoppable

    def accepts(self, target: Target) -> bool:
        """Whether a call accepts this target, for any image. The model is not run. `check_target` gives the reason."""
        try:
            self.check_target(target)
        except OnnxplainError:
            return False
        return True

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError that a call would raise for this target. The model is not run.

        By default every target is accepted. A method that cannot explain every target overrides this.
        """
        return

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """The names of the constructor's options, in order: all parameters after the engine."""
        _, *options = inspect.signature(cls).parameters.values()
        return tuple(each.name for each in options if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY))

    @classmethod
    def check_definition(cls) -> None:
        """Raise OnnxplainError if the class lacks a part that a method must have. The message says what to add."""
        if not isinstance(getattr(cls, "name", None), str):
            raise OnnxplainError(f'{cls.__name__}: found no name, expected the method name: write name = "my-method"')
        if not isinstance(cls.needs, Need):
            raise OnnxplainError(
                f"{cls.__name__}: found needs {cls.needs!r}, expected a Need: use one of onnxplain.explainers.needs"
            )
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise OnnxplainError(
                f"{cls.__name__}: found no {', '.join(missing)}, expected a method: define it in the class"
            )
        if not inspect.signature(cls).parameters:
            raise OnnxplainError(
                f"{cls.__name__}: found a constructor without parameters, expected an engine as the first"
            )

    @abstractmethod
    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        """One explanation per image. There is at least one image; `targets` has one entry per image."""
