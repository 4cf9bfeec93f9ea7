"""Placing a target on an image: the region of a mask in its cells, the vector of a reference image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.contract import PREDICTED, HeadSpec
from onnxplain.errors import ImageError, OnnxplainError, UnsupportedError
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.runtime.answers import Answer, Embedding
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.head_scores import head_output, head_probabilities
from onnxplain.runtime.heads.aims import check_reference
from onnxplain.runtime.heads.mask_region import region_at, region_of
from onnxplain.runtime.image import ImageLike, list_images
from onnxplain.runtime.target import ResolvedTarget

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine
    from onnxplain.runtime.geometry import Frame


@dataclass(frozen=True, eq=False)
class SeenImage:
    """An image as the model sees it: `pixels` float32 (C, H, W), where it lies, and a head's output for it."""

    pixels: FloatArray
    frame: Frame
    output_of: Callable[[HeadSpec], AnyArray]


@dataclass(frozen=True)
class Placer:
    """Places targets on images, for one call. A reference image is embedded once.

    `differentiated`: the method differentiates, so an image cannot be compared with itself: the gradient of the cosine
    is zero there.
    """

    engine: Engine
    differentiated: bool = False
    _references: dict[tuple[int, str], tuple[FloatArray, FloatArray]] = field(default_factory=dict)

    def place(self, aim: ResolvedTarget, image: Callable[[], SeenImage]) -> PlacedTarget:
        """A target on one image. `image` is called only if the target needs it.

        Raises OnnxplainError for a region outside the image, a pixel of another class, a reference of zeros, and the
        image itself as reference where the method differentiates.
        """
        spec = self.engine.spec
        placed = PlacedTarget(aim.index, aim.head, spec.numbering.target(aim.head, 0), aim.sign, aim.against)
        changes: dict[str, object] = {}
        if aim.pixel_xy is not None:
            seen, x, y = image(), *aim.pixel_xy
            (maps,) = head_probabilities(aim.head, seen.output_of(aim.head))
            changes = {
                "region": region_at((x, y), placed.entry, maps, seen.frame, aim.head),
                "place": f"at {x:g},{y:g}",
            }
        elif aim.region is not None:
            x1, y1, x2, y2 = aim.region
            changes = {
                "region": region_of(aim.region, image().frame, aim.head),
                "place": f"in {x1:g},{y1:g},{x2:g},{y2:g}",
            }
        elif aim.like is not None:
            pixels, vector = self._embed(aim.head, aim.like)
            if self.differentiated and np.array_equal(pixels, image().pixels):
                raise OnnxplainError(
                    "like: found the image itself, where the gradient of the cosine is zero, expected another image: "
                    "give one, or use rise"
                )
            changes = {"reference": vector, "place": f"like {_name_of(aim.like)}"}
        return PlacedTarget(**{**vars(placed), **changes})

    def _embed(self, head: HeadSpec, like: ImageLike) -> tuple[FloatArray, FloatArray]:
        """The input of the model for the reference image, and its embedding (1, D)."""
        key = id(like), head.name
        if key not in self._references:
            answers = self._answers_of(like)
            answer = next(each for each in answers if isinstance(each, Embedding) and each.head is head)
            vector = check_reference(self.engine.spec, answer.vector, 1)
            assert vector is not None
            self._references[key] = self.engine.preprocess(like)[0], vector
        return self._references[key]

    def _answers_of(self, like: ImageLike) -> Sequence[Answer]:
        """What the model answers for the reference image. Raises ImageError if it is no image, or several."""
        try:
            found = self.engine.answers(like)
        except ImageError as error:
            raise ImageError(f"like: {error}") from error
        if len(found) != 1:
            raise ImageError(f"like: found {len(found)} images, expected one: give one image to compare with")
        return found[0]

    def place_all(self, images: ImageLike | Sequence[ImageLike], aims: Sequence[ResolvedTarget]) -> list[PlacedTarget]:
        """One target per image, or all targets of a single image."""
        listed = list_images(images)
        seen = [cached_view(self.engine, image) for image in listed]
        seen = seen * len(aims) if len(listed) == 1 else seen
        return [self.place(aim, see) for aim, see in zip(aims, seen, strict=True)]


def cached_view(engine: Engine, image: ImageLike) -> Callable[[], SeenImage]:
    """A function that prepares the image the first time."""
    found: list[SeenImage] = []

    def see() -> SeenImage:
        if not found:
            found.append(see_image(engine, image))
        return found[0]

    return see


def see_image(engine: Engine, image: ImageLike) -> SeenImage:
    """The image, prepared for the model; the model runs when an output is asked for."""
    batch = engine.prepare(image)

    def run(head: HeadSpec) -> AnyArray:
        return engine.run(batch.pixels, [head_output(head)], image_sizes_hw=batch.image_sizes_hw)[0]

    return SeenImage(batch.pixels[0], batch.frames[0], run)


def check_aim(method: str, aim: ResolvedTarget, name: str, *, combines: bool = True, uses_target: bool = True) -> None:
    """Raise for what no image can make explainable: an embedding without a reference, a combination of entries.

    `combines`: whether the method explains −y and differences.
    """
    if uses_target and aim.needs_reference and aim.like is None:
        raise OnnxplainError(
            f"target: found {name}, an embedding, expected an image to compare with: give like=IMAGE (`onnxplain "
            "explain --like IMAGE`)"
        )
    if not aim.is_single and not combines:
        what = "not:" if aim.against is None else "against"
        why = (
            "the method explains single entries, not their negative or a difference"
            if uses_target
            else "the map is the same for every target"
        )
        raise UnsupportedError(f"{method}: found {what}, expected a target alone: {why}; use grad-cam or rise")


def name_aim(engine: Engine, aim: ResolvedTarget) -> str:
    """The name of a target before the model has run."""
    return aim.head.name if aim.index == PREDICTED else engine.target_name(aim.index)


def _name_of(like: ImageLike) -> str:
    from pathlib import Path

    return Path(like).name if isinstance(like, str | Path) else "another image"
