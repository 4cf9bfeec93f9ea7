"""The model's image input as the graph declares it: name, type, layout, size."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.contract import GRAY_PRESETS, PRESETS, Layout, Preprocessing
from onnxplain.errors import ModelError
from onnxplain.runtime.session import Session

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
_CHANNEL_COUNTS = (1, 3)


@dataclass(frozen=True)
class ImageInput:
    """The graph's image input. `shape` has four entries; None means that the dimension is not fixed."""

    name: str
    dtype: type[np.generic]
    shape: tuple[int | None, int | None, int | None, int | None]

    @property
    def batch(self) -> int | None:
        """The batch size that the graph fixes, else None."""
        return self.shape[0]

    def channels(self, layout: Layout) -> int | None:
        """The number of channels in that layout, None if not fixed."""
        return self.shape[1] if layout == "nchw" else self.shape[3]

    def size_hw(self, layout: Layout) -> tuple[int | None, int | None]:
        """Height and width in that layout, None if not fixed."""
        return (self.shape[2], self.shape[3]) if layout == "nchw" else (self.shape[1], self.shape[2])


def find_image_input(session: Session, path: Path, not_images: Collection[str] = ()) -> ImageInput:
    """The only input besides `not_images`. Raises ModelError unless there is exactly one and it takes images."""
    inputs = [tensor for tensor in session.get_inputs() if tensor.name not in not_images]
    found = ", ".join(f"{tensor.name} {_describe(tensor)}" for tensor in inputs) or "none"
    if len(inputs) != 1:
        raise ModelError(
            f"{path}: found {len(inputs)} inputs ({found}), expected one image input: export the model with "
            "the image as its only input"
        )
    tensor = inputs[0]
    if tensor.type not in _DTYPES or len(tensor.shape) != 4:
        raise ModelError(
            f"{path}: found the input {found}, expected images, float or uint8 [N, C, H, W] or [N, H, W, C]: "
            "choose an image model"
        )
    batch, first, second, third = (side if isinstance(side, int) and side > 0 else None for side in tensor.shape)
    return ImageInput(tensor.name, _DTYPES[tensor.type], (batch, first, second, third))


def find_layout(image_input: ImageInput, path: Path, asked: Layout | None) -> Layout:
    """The layout with 1 or 3 channels. Raises ModelError if the shape of the graph's input does not decide it."""
    layouts: tuple[Layout, ...] = ("nchw", "nhwc")
    possible = [layout for layout in layouts if image_input.channels(layout) in _CHANNEL_COUNTS]
    shown = _shape_text(image_input.shape)
    if asked is not None:
        if image_input.channels(asked) not in (*_CHANNEL_COUNTS, None):
            raise ModelError(
                f"{path}: found an input {shown}, expected 1 or 3 channels in layout {asked}: use the other layout"
            )
        return asked
    if len(possible) == 2:
        raise ModelError(
            f"{path}: found an input {shown} that fits both layouts, expected one: give --layout (layout=…)"
        )
    if not possible:
        if None in (image_input.channels("nchw"), image_input.channels("nhwc")):
            raise ModelError(
                f"{path}: found an input {shown} whose channels are not fixed, expected 1 or 3 channels: "
                "give --layout (layout=…)"
            )
        raise ModelError(f"{path}: found an input {shown}, expected 1 or 3 channels: choose an image model")
    return possible[0]


def find_size_hw(image_input: ImageInput, path: Path, layout: Layout, asked: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width: those the graph fixes, else those asked for. Raises ModelError if both exist and differ."""
    declared = image_input.size_hw(layout)
    if asked is not None:
        if any(side not in (None, wanted) for side, wanted in zip(declared, asked, strict=True)):
            raise ModelError(
                f"{path}: found an input {_shape_text(image_input.shape)}, expected the given size "
                f"{asked[0]}x{asked[1]}: leave out the size to use the file's"
            )
        return asked[0], asked[1]
    height, width = declared
    if height is None or width is None:
        raise ModelError(
            f"{path}: found an input {_shape_text(image_input.shape)} without a fixed size, expected one: "
            "give --size HxW (input_size_hw=(H, W))"
        )
    return height, width


def assumed_preprocessing(image_input: ImageInput, layout: Layout) -> Preprocessing:
    """The preprocessing assumed if none is given: ``imagenet`` for float inputs, ``raw`` for uint8."""
    presets = GRAY_PRESETS if image_input.channels(layout) == 1 else PRESETS
    return presets["raw" if image_input.dtype == np.uint8 else "imagenet"]


def check_channels(image_input: ImageInput, path: Path, layout: Layout, preprocessing: Preprocessing) -> None:
    """Raise ModelError if the preprocessing and the graph's input differ in the number of channels."""
    channels = image_input.channels(layout)
    if channels not in (None, preprocessing.channel_count):
        raise ModelError(
            f"{path}: found an input {_shape_text(image_input.shape)} with {channels} channels, expected "
            f"{preprocessing.channel_count} for {preprocessing.channels} images: give other channels"
        )


def _describe(tensor: Any) -> str:
    return f"{tensor.type} {_shape_text(tensor.shape)}"


def _shape_text(shape: Collection[object]) -> str:
    return "[" + ", ".join("?" if side is None else str(side) for side in shape) + "]"
