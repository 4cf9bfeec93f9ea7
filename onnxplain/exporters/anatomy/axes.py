"""Following the axes of a map through reshapes that split and merge them: channel shuffles, patch merging.

Each axis is a list of factors, the slowest first. A Reshape regroups the factors and splits a factor if necessary. A
Transpose moves them. The tensor is a map again when its axes are the height, the width and the channels again; the
outer factor of the height or the width is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnxplain.exporters.graph.values import Dims

Letter = Literal["n", "c", "h", "w"]
MapForm = Literal["nchw", "nhwc"]
LETTERS: dict[MapForm, tuple[Letter, ...]] = {"nchw": ("n", "c", "h", "w"), "nhwc": ("n", "h", "w", "c")}


@dataclass(frozen=True)
class Factor:
    """A part of an axis of the map. `place` orders the parts of one axis; the outermost part has only zeros."""

    letter: Letter
    size: int
    place: tuple[int, ...] = ()


Axes = tuple[tuple[Factor, ...], ...]


def axes_of_map(form: MapForm, shape: Dims) -> Axes | None:
    """The axes after the batch, one factor each; None if a size is not known."""
    axes = []
    for letter, size in zip(LETTERS[form][1:], shape[1:], strict=True):
        if not isinstance(size, int):
            return None
        axes.append((Factor(letter, size),))
    return tuple(axes)


def transpose_axes(axes: Axes, perm: Sequence[int]) -> Axes | None:
    """The axes in another order; None if the batch axis does not stay first."""
    return tuple(axes[axis - 1] for axis in perm[1:]) if perm[0] == 0 else None


def reshape_axes(axes: Axes, after: Dims) -> Axes | None:
    """The factors regrouped to the sizes `after`; None if they do not fit or if the batch axis is involved."""
    waiting = [factor for axis in axes for factor in axis if factor.size > 1]
    groups: list[tuple[Factor, ...]] = []
    for size in after[1:]:
        group: list[Factor] = []
        room = size
        while room != 1:
            if not isinstance(room, int) or room < 1 or not waiting:
                return None
            factor = waiting.pop(0)
            if factor.size > room:
                if factor.size % room:
                    return None
                inner = Factor(factor.letter, factor.size // room, (*factor.place, 1))
                factor = Factor(factor.letter, room, (*factor.place, 0))
                waiting.insert(0, inner)
            if room % factor.size:
                return None
            group.append(factor)
            room //= factor.size
        groups.append(tuple(group))
    return None if waiting else tuple(groups)


def form_of_axes(axes: Axes) -> MapForm | None:
    """The form in which the axes hold a map, or None.

    One axis has to be the height or its outer part, the next the width or its outer part, one the channels.
    """
    for form, letters in LETTERS.items():
        if len(axes) + 1 == len(letters) and all(map(_is_axis, axes, letters[1:])):
            return form
    return None


def _is_axis(axis: Sequence[Factor], letter: Letter) -> bool:
    if letter == "c":
        return any(factor.letter == "c" for factor in axis)
    own = [factor.place for factor in axis if factor.letter == letter]
    return bool(axis) and len(own) == len(axis) and own == sorted(own) and not any(own[0])
