"""Players: the parts of an image that are shown or hidden as a whole. They make a partition of what the model sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError, UnexplainedImageError
from onnxplain.explainers.masked.black_box import View
from onnxplain.explainers.masked.cell_masks import CellMasks
from onnxplain.explainers.masked.label_map import check_label_map, read_player_map
from onnxplain.explainers.masked.masks import Pixels
from onnxplain.explainers.masked.quadtree import split_by_detail
from onnxplain.explainers.masked.superpixels import find_superpixels, has_superpixels
from onnxplain.files.existing import is_existing_file
from onnxplain.runtime.arrays import AnyArray
from onnxplain.runtime.geometry import Frame

PlayerKind: TypeAlias = Literal["grid", "superpixels", "quadtree"]
# A kind, or a label map of the image: whole numbers (H, W), one label per player, as an array or as a file.
Players: TypeAlias = str | Path | npt.NDArray[Any]

LEAST_PLAYERS = 2


@dataclass(frozen=True, eq=False)
class PlacedPlayers:
    """The players of one image. `name`: what they are, in words. `masks`: the masks that show some of them."""

    name: str
    masks: CellMasks

    @property
    def count(self) -> int:
        """How many there are."""
        return self.masks.count


def check_players(players: Players, count: int) -> None:
    """Raise OnnxplainError for what is no kind of players and no label map, and for fewer than two cells."""
    if isinstance(players, np.ndarray):
        check_label_map(players, "an array")
    elif not is_kind(players) and not (isinstance(players, str | Path) and is_existing_file(players)):
        raise OnnxplainError(
            f"players: found {str(players)!r}, expected one of {', '.join(get_args(PlayerKind))}, or a label map: an "
            "array of whole numbers (H, W), or a file that exists"
        )
    if count < LEAST_PLAYERS:
        raise OnnxplainError(f"cells: found {count}, expected at least {LEAST_PLAYERS}")


def is_kind(players: Players) -> bool:
    """Whether players are found in each image, by a kind; else they come with a label map."""
    return isinstance(players, str) and players in get_args(PlayerKind)


def place_players(players: Players, count: int, view: View) -> PlacedPlayers:
    """The players of an image. `count`: how many are wanted; a grid has the nearest square, superpixels about as many.

    Pixels of the input outside the image, as the borders of a letterbox, belong to no player and are always shown.
    Raises OnnxplainError for a label map of another size than the image or with fewer than two players, and
    UnexplainedImageError where fewer than two are found in the image.
    """
    window = seen_window(view.frame)
    players = players if isinstance(players, np.ndarray) or is_kind(players) else read_player_map(Path(players))
    seen = view.pixels[:, window[0], window[1]]
    if isinstance(players, np.ndarray):
        name, labels = "label map", _place_label_map(players, view)
    elif players == "superpixels" and not has_superpixels():
        name, labels = _grid(seen, count)
        name += " (superpixels need scikit-image)"
    else:
        name, labels = _KINDS[str(players)](seen, count)
    found, numbered = np.unique(labels, return_inverse=True)
    if len(found) < LEAST_PLAYERS:
        by_colour = isinstance(players, str) and players == "superpixels"
        advice = "ask for more cells, or choose a grid" if by_colour else "choose other players, such as a grid"
        # Superpixels are found in the image: another image may have enough of them.
        raise (UnexplainedImageError if is_kind(players) else OnnxplainError)(
            f"players: found {len(found)} ({name}), expected at least {LEAST_PLAYERS} in the part of the image that "
            f"the model sees: {advice}"
        )
    whole = np.full(view.pixels.shape[1:], len(found), np.int64)
    whole[window] = numbered.reshape(labels.shape)
    return PlacedPlayers(name, CellMasks(whole, len(found)))


def seen_window(frame: Frame) -> Pixels:
    """Rows and columns of the model's input that show the image."""
    ((x1, y1, x2, y2),) = frame.boxes_to_input([frame.visible_xyxy]).round(3)
    height, width = frame.input_size_hw
    rows = slice(max(int(np.floor(y1)), 0), min(int(np.ceil(y2)), height))
    return rows, slice(max(int(np.floor(x1)), 0), min(int(np.ceil(x2)), width))


def grid_side(count: int) -> int:
    """The cells per side of the grid with the number of cells nearest to `count`."""
    return max(2, round(math.sqrt(count)))


def wanted_players(players: Players, count: int, size_hw: tuple[int, int]) -> int:
    """How many players `count` cells of a kind are over so many pixels, before the image is known: never more than
    pixels. Label maps say it themselves: `count`.
    """
    if not is_kind(players):
        return count
    height, width = size_hw
    if players == "grid":
        side = grid_side(count)
        return min(side, height) * min(side, width)
    return min(count, height * width)


def grid_labels(size_hw: tuple[int, ...], count: int) -> npt.NDArray[np.int64]:
    """Cells of a grid with equal sides, as equal as pixels allow; no more per side than pixels."""
    side = grid_side(count)
    rows, columns = (np.arange(pixels) * min(side, pixels) // pixels for pixels in size_hw)
    return rows[:, None] * side + columns


def _place_label_map(label_map: npt.NDArray[Any], view: View) -> npt.NDArray[np.int64]:
    """The label of each pixel of the input that shows the image: that of the image's pixel under its centre."""
    frame = view.frame
    if label_map.shape != tuple(frame.image_size_hw):
        raise OnnxplainError(
            f"players: found a label map of {label_map.shape[0]} × {label_map.shape[1]} for an image of "
            f"{frame.image_size_hw[0]} × {frame.image_size_hw[1]}, expected the size of the image"
        )
    rows, columns = seen_window(frame)
    y = _under(frame, np.arange(rows.start, rows.stop), axis=1).clip(0, label_map.shape[0] - 1)
    x = _under(frame, np.arange(columns.start, columns.stop), axis=0).clip(0, label_map.shape[1] - 1)
    return np.asarray(label_map[np.ix_(y, x)]).astype(np.int64)


def _under(frame: Frame, pixels: npt.NDArray[np.intp], axis: int) -> npt.NDArray[np.intp]:
    """The image's rows (axis 1) or columns (axis 0) under the centres of the input's."""
    corners = np.zeros((len(pixels), 4))
    corners[:, axis] = corners[:, axis + 2] = pixels + 0.5
    return np.floor(frame.boxes_to_image(corners)[:, axis]).astype(np.intp)


def _grid(seen: AnyArray, count: int) -> tuple[str, npt.NDArray[np.int64]]:
    rows, columns = (min(grid_side(count), pixels) for pixels in seen.shape[1:])
    return f"grid of {rows} × {columns}", grid_labels(seen.shape[1:], count)


_KINDS: Mapping[str, Callable[[Any, int], tuple[str, npt.NDArray[np.int64]]]] = {
    "grid": _grid,
    "superpixels": lambda seen, count: ("superpixels", find_superpixels(seen, count)),
    "quadtree": lambda seen, count: ("quadtree", split_by_detail(seen, count)),
}
