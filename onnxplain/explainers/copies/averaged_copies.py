"""The mean of a method's maps over mirrored and scaled copies of an image, for every method."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from onnxplain.contract.arguments import check_fields
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers.copies.map_mean import MapMean
from onnxplain.explainers.copies.moved_copy import MovedCopy
from onnxplain.explainers.copies.moved_target import check_movable, move_target
from onnxplain.explainers.copies.test_time import TestTime, check_scales, parse_test_time
from onnxplain.explainers.explainer import Explainer
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.held_interrupt import hold_interrupts
from onnxplain.explainers.masked.fill import is_fill_image
from onnxplain.explainers.masked.label_map import read_player_map
from onnxplain.explainers.masked.players import is_kind
from onnxplain.explainers.needs import CLASSES_OR_BOXES, Need
from onnxplain.explainers.passes import Passes
from onnxplain.explainers.progress import Progress
from onnxplain.runtime.arrays import AnyArray
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.image import as_image
from onnxplain.runtime.images.prepared import PreparedImage
from onnxplain.runtime.target import Target

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike

# Limits of the work for one image, which the copies share.
_SHARED = ("evaluations", "budget_seconds")


@dataclass(frozen=True)
class AveragedCopies(Explainer):
    """``raw = mean over the copies k of T_k⁻¹ raw(T_k image)``: `explainer` on copies, their maps brought back.

    The copies are the image itself; with `flips` its mirror image, left to right; and each again at every one of
    `scales`, from 0.5 to 2. The model's input has one size, so a scale above 1 shows a window around the centre of the
    image, larger, and one below 1 the whole image, smaller, with its mean colour around it. Windows end at whole
    pixels, and a map is brought back through the exact geometry. At each pixel the mean is taken over the copies that
    show it.

    What is explained is settled on the image itself: a predicted class stays that class in every copy. Regions and
    pixels of a target move with the copy, as do label maps of players and images that fill hidden pixels; a `like`
    image stays as it is. `evaluations` and `budget_seconds` of the explainer are divided among the copies. Copy k has
    the explainer's seed + k.

    `raw`: float32 (h, w), averaged with its sign and unit: with flips alone on the grid of the method's own map, with
    scales, which look between its cells, on the pixels of the model's input. The heatmap follows from it as the
    method's own does. The status is "constant" only if that of every copy is. `report`: a `CopiesReport`. Raises
    UnsupportedError for detectors and box coordinates, OnnxplainError for scales out of range and for no copies.
    """

    explainer: Explainer
    flips: bool = False
    scales: Sequence[float] = ()

    name: ClassVar[str] = "averaged-copies"
    needs: ClassVar[Need] = CLASSES_OR_BOXES
    takes_aims: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "scales", check_scales(self.scales))
        if not self.flips and not self.scales:
            raise OnnxplainError("test_time: found no copies, expected flips, scales or both: use the explainer itself")
        if self.engine is not None and self.engine.detector is not None:
            raise UnsupportedError(
                "test_time: found a detector, whose candidates are others in every copy, expected a model with heads: "
                "leave test_time out"
            )
        _ = self._shared

    @property
    def engine(self) -> Engine | None:
        """The engine of the explainer; None for a callable."""
        given = getattr(self.explainer, "engine", None) or getattr(self.explainer, "score_function", None)
        return given if isinstance(given, Engine) else None

    @property
    def seed(self) -> int | None:
        """The explainer's, which is that of the image itself."""
        return getattr(self.explainer, "seed", None)

    @property
    def can_stop(self) -> bool:
        """As the explainer."""
        return self.explainer.can_stop

    @property
    def differentiates(self) -> bool:
        """As the explainer."""
        return bool(getattr(self.explainer, "differentiates", False))

    @property
    def passes(self) -> Passes | None:
        """See `Explainer`: those of all copies."""
        one = self._shared.passes
        return None if one is None else one.times(self._count)

    def check_target(self, target: Target) -> None:
        """Raise the OnnxplainError that a call would raise for this target. The model is not run."""
        check_movable(self.explainer, self.engine, target)
        self.explainer.check_target(target)

    def for_targets(self, image: ImageLike, targets: Sequence[Target]) -> list[Explanation]:
        """One explanation of the image per target. They share the work of each copy as in the explainer."""
        for target in targets:
            self.check_target(target)
        return self._explain(image, targets, 0, 1)

    def _explain_all(self, images: Sequence[ImageLike], targets: Sequence[Target]) -> list[Explanation]:
        # Check all targets before the first of many passes.
        for target in targets:
            self.check_target(target)
        explanations: list[Explanation] = []
        for position, (image, target) in enumerate(zip(images, targets, strict=True)):
            explanations += self._explain(image, [target], position, len(images))
        return explanations

    def _explain(self, image: ImageLike, targets: Sequence[Target], position: int, images: int) -> list[Explanation]:
        """The explanations of one image, the one at `position` of so many."""
        pixels_hwc = self._read(image)
        copies = self._copies((pixels_hwc.shape[0], pixels_hwc.shape[1]))
        with ExitStack() as held:
            if self.can_stop:
                held.enter_context(hold_interrupts())
            means: list[MapMean] = []
            for number, copy in enumerate(copies):
                explainer = self._explainer_of(number, copy, self._share_of(position * len(copies) + number, images))
                if number == 0:
                    # Pixels that were read are not read again; neither is what was prepared for the model.
                    own = image if isinstance(image, PreparedImage) else pixels_hwc
                    found = explainer.for_targets(own, targets)
                    means = [MapMean(each, len(copies), fine=bool(self.scales)) for each in found]
                else:
                    moved = [
                        move_target(each, mean.first, copy, self.engine)
                        for each, mean in zip(targets, means, strict=True)
                    ]
                    try:
                        found = explainer.for_targets(copy.cut_image(pixels_hwc), moved)
                    except OnnxplainError as error:
                        raise type(error)(f"test_time: the copy {copy.name}: {error}") from error
                    for mean, each in zip(means, found, strict=True):
                        mean.add(copy, each)
                if any(mean.interrupted for mean in means):
                    if position + 1 < images:
                        raise KeyboardInterrupt
                    break
            return [mean.explanation() for mean in means]

    def _copies(self, image_size_hw: tuple[int, int]) -> list[MovedCopy]:
        """The copies of an image of this size; the first is the image itself."""
        return [
            MovedCopy.of(image_size_hw, scale, mirrored=mirrored)
            for scale in (1.0, *self.scales)
            for mirrored in ((False, True) if self.flips else (False,))
        ]

    @property
    def _count(self) -> int:
        return (1 + len(self.scales)) * (1 + self.flips)

    def _read(self, image: ImageLike) -> AnyArray:
        if isinstance(image, PreparedImage):
            return image.pixels
        return as_image(image) if self.engine is None else self.engine.read(image)

    @property
    def _shared(self) -> Explainer:
        """The explainer with its share of what the copies share. Raises OnnxplainError if that is too little."""
        given = {name: getattr(self.explainer, name, None) for name in _SHARED}
        shares = {name: value // self._count if name == "evaluations" else value / self._count
                  for name, value in given.items() if value is not None}  # fmt: skip
        if shares.get("evaluations") == 0:
            raise OnnxplainError(
                f"evaluations: found {given['evaluations']} for {self._count} copies of an image, expected at least "
                "one for each: give more, or average over fewer copies"
            )
        try:
            return _changed(self.explainer, **shares)
        except OnnxplainError as error:
            raise type(error)(f"test_time: {self._count} copies of an image share the evaluations: {error}") from error

    def _explainer_of(self, number: int, copy: MovedCopy, progress: Progress | None) -> Explainer:
        """The explainer for the copy of this number."""
        changes: dict[str, Any] = {"progress": progress}
        if self.seed is not None:
            changes["seed"] = self.seed + number
        if number:
            players, fill = getattr(self.explainer, "players", None), getattr(self.explainer, "fill", None)
            if players is not None and not is_kind(players):
                labels = players if isinstance(players, np.ndarray) else read_player_map(Path(players))
                changes["players"] = copy.cut_labels(labels)
            if fill is not None and is_fill_image(fill):
                other = self._read(cast("ImageLike", fill))
                own = MovedCopy.of((other.shape[0], other.shape[1]), copy.scale, mirrored=copy.mirrored)
                changes["fill"] = own.cut_image(other)
        return _changed(self._shared, **changes)

    def _share_of(self, number: int, images: int) -> Progress | None:
        """What reports the work on a copy, by its number over all images of the call."""
        outer: Progress | None = getattr(self.explainer, "progress", None)
        if outer is None:
            return None
        count = images * self._count
        return lambda done, total: outer(number * total + done, count * total)


def average_copies(explainer: Explainer, test_time: TestTime) -> AveragedCopies:
    """The explainer over the copies that the option ``test_time`` names. Raises the errors of `AveragedCopies`."""
    flips, scales = parse_test_time(test_time)
    return AveragedCopies(explainer, flips, scales)


def _changed(explainer: Explainer, **changes: Any) -> Explainer:
    """The explainer with other values of those of these options that it has."""
    if not is_dataclass(explainer):
        return explainer
    known = {field.name for field in fields(explainer)}
    found: Explainer = replace(
        cast("Any", explainer), **{name: each for name, each in changes.items() if name in known}
    )
    return found
