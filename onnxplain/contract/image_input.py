"""The image input of a model, from what its graph declares and what the user states: one decision for both sides.

Exporters read the declaration from the graph, the runtime from a session. Both ask `read_image_input`, so a file that
one of them takes is not refused by the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from onnxplain.contract.choices import COLOUR_COUNTS, Channels, Layout, check_channels, check_choice, count_channels
from onnxplain.contract.expected import LARGEST_SIDE
from onnxplain.contract.quantization import Quantization

Dtype = Literal["float32", "float16", "float64", "uint8", "int8"]
Dim = int | str | None
DTYPES: tuple[Dtype, ...] = ("float32", "float16", "float64", "uint8", "int8")

# What one run may take: a quarter of a gigabyte in float32.
LARGEST_INPUT = 2**26

# The axes of channels, height and width.
AXES: dict[Layout, tuple[int, int, int]] = {
    "nchw": (1, 2, 3),
    "nhwc": (3, 1, 2),
    "chw": (0, 1, 2),
    "hwc": (2, 0, 1),
}
_LAYOUTS: dict[int, tuple[Layout, Layout]] = {4: ("nchw", "nhwc"), 3: ("chw", "hwc")}
# What exporters call an open dimension of channels.
_CHANNEL_NAMES = ("c", "channel", "channels", "num_channels", "n_channels")


@dataclass(frozen=True)
class DeclaredInput:
    """An input as the graph declares it: name, type (numpy's name), dimensions.

    A dimension is a number, or the name of a symbol, or None where it is open without a name; `dims` is None where even
    their number is unknown. `quantization`: what its integers stand for, where the graph says so.
    """

    name: str
    dtype: str
    dims: tuple[Dim, ...] | None
    quantization: Quantization | None = None

    @classmethod
    def of(cls, name: str, dtype: str, dims: Sequence[object] | None) -> DeclaredInput:
        """From the dimensions of any library: numbers below 1 and empty names are open."""
        if dims is None:
            return cls(name, dtype, None)
        return cls(name, dtype, tuple(map(_dim, dims)))

    @property
    def shape_text(self) -> str:
        """``[1, 3, height, ?]``."""
        if self.dims is None:
            return "of unknown shape"
        return "[" + ", ".join("?" if dim is None else str(dim) for dim in self.dims) + "]"


@dataclass(frozen=True)
class StatedShape:
    """What the user states about the shape of the input; None for what is left to the file."""

    size_hw: tuple[int, int] | None = None
    layout: Layout | None = None
    channels: Channels | None = None

    def __post_init__(self) -> None:
        if self.channels is not None:
            object.__setattr__(self, "channels", check_channels(self.channels))
        if self.layout is not None:
            check_choice("layout", self.layout, Layout)


@dataclass(frozen=True)
class ImageInput:
    """The image input: name, type, layout, channels and size. `batch`: the size that the graph fixes, else None.

    Layouts without a batch axis take one image at a time; their `batch` is 1. `quantization`: what its integers stand
    for, where the graph says so. `channels_source`: the file that says how many channels there are, where the graph
    leaves them open; None for the graph itself or the user.
    """

    name: str
    dtype: Dtype
    layout: Layout
    batch: int | None
    channels: Channels
    size_hw: tuple[int, int]
    quantization: Quantization | None = None
    channels_source: str | None = None

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The dimensions of the input; None for an open batch."""
        shape: list[int | None] = [self.batch] * (4 if is_batched(self.layout) else 3)
        for axis, size in zip(AXES[self.layout], (count_channels(self.channels), *self.size_hw), strict=True):
            shape[axis] = size
        return tuple(shape)


class InputFault(Enum):
    """Why an input cannot be read. The value is what is expected, and what to do."""

    NO_IMAGE = "expected images, float, uint8 or int8, [N, C, H, W] or [N, H, W, C], or no N: this is no image model"
    RANK = "expected the dimensions of layout {layout}: state another layout"
    LAYOUT = "expected 1 or 3 channels in layout {layout}: use another layout, or state a number (--channels NUMBER)"
    LAYOUT_AMBIGUOUS = "expected one order of its axes, it may be {layouts}: give --layout (layout=…)"
    LAYOUT_OPEN = "expected to know which dimension holds the channels, they are open: give --layout (layout=…)"
    CHANNELS = "expected {channels} as stated: state other channels (--channels, channels=…)"
    SIZE = "expected {size} as stated: leave the size to the file"
    TOO_LARGE = "expected at most {largest:,} numbers per run, and sides of at most {side:,}: give a smaller --size"
    SIZE_OPEN = "expected a fixed size, {open} open: give --size HxW (input_size_hw=(H, W))"


@dataclass(frozen=True)
class UnreadInput:
    """Why an input cannot be read."""

    fault: InputFault
    declared: DeclaredInput
    stated: StatedShape = StatedShape()
    layouts: tuple[Layout, ...] = ()

    def __str__(self) -> str:
        height, width = self.stated.size_hw or (0, 0)
        expected = self.fault.value.format(
            layout=self.stated.layout,
            layouts=" or ".join(self.layouts),
            channels=self._channels_text(),
            size=f"{height}x{width}",
            open=self._open_text(),
            largest=LARGEST_INPUT,
            side=LARGEST_SIDE,
        )
        return f"found an input {self.declared.name} {self.declared.dtype} {self.declared.shape_text}, {expected}"

    def _channels_text(self) -> str:
        """``3 channels (rgb)``."""
        channels = self.stated.channels
        if channels is None:
            return ""
        count = count_channels(channels)
        order = "" if isinstance(channels, int) else f" ({channels})"
        return f"{count} channel{'s' if count > 1 else ''}{order}"

    def _open_text(self) -> str:
        """The open dimensions of height and width, as the graph names them, and the verb."""
        names = []
        for layout in self.layouts[:1]:
            for side, axis in zip(("height", "width"), AXES[layout][1:], strict=True):
                dim = (self.declared.dims or ())[axis]
                if not isinstance(dim, int):
                    names.append(f"its {side} (dimension {axis}{'' if dim is None else f', {dim!r}'})")
        return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"


def read_image_input(declared: DeclaredInput, stated: StatedShape | None = None) -> ImageInput | UnreadInput:
    """The image input that the graph declares, what is open in it closed by what the user states.

    The layout is the stated one; else the only one that has the stated size and channels; else the one whose channels
    are 1 or 3, or have a name such as ``num_channels``, or are fewer than rows and columns. Channels that are
    open and not stated are taken for ``rgb``.
    """
    stated = stated or StatedShape()
    dtypes = [dtype for dtype in DTYPES if dtype == declared.dtype]
    if declared.dims is None or len(declared.dims) not in _LAYOUTS or not dtypes:
        return UnreadInput(InputFault.NO_IMAGE, declared, stated)
    possible = _LAYOUTS[len(declared.dims)]
    if stated.layout is not None and stated.layout not in possible:
        return UnreadInput(InputFault.RANK, declared, stated, possible)
    layouts = _layouts(declared.dims, stated, possible)
    if len(layouts) != 1:
        fault = InputFault.LAYOUT_AMBIGUOUS if layouts else InputFault.LAYOUT_OPEN
        return UnreadInput(fault, declared, stated, layouts)
    layout = layouts[0]
    channels, height, width = (_fixed(declared.dims[axis]) for axis in AXES[layout])
    if stated.channels is not None and channels not in (None, count_channels(stated.channels)):
        return UnreadInput(InputFault.CHANNELS, declared, stated, layouts)
    if stated.channels is None and _is_unlikely(declared.dims, layout, possible):
        return UnreadInput(InputFault.LAYOUT, declared, stated, layouts)
    if stated.size_hw is not None:
        if not _fits((height, width), stated.size_hw):
            return UnreadInput(InputFault.SIZE, declared, stated, layouts)
        height, width = stated.size_hw
    if height is None or width is None:
        return UnreadInput(InputFault.SIZE_OPEN, declared, stated, layouts)
    order: Channels = "rgb" if channels is None else COLOUR_COUNTS.get(channels, channels)
    batch = _fixed(declared.dims[0]) if is_batched(layout) else 1
    found = ImageInput(
        declared.name,
        dtypes[0],
        layout,
        batch,
        order if stated.channels is None else stated.channels,
        (int(height), int(width)),
        declared.quantization,
    )
    numbers = math.prod(dim or 1 for dim in found.shape)
    if numbers > LARGEST_INPUT or max(found.size_hw) > LARGEST_SIDE:
        return UnreadInput(InputFault.TOO_LARGE, declared, stated, layouts)
    return found


def is_batched(layout: Layout) -> bool:
    """Whether the layout has a batch axis."""
    return layout.startswith("n")


def batched(layout: Layout) -> Layout:
    """The layout with a batch axis."""
    layouts: dict[Layout, Layout] = {"chw": "nchw", "hwc": "nhwc"}
    return layouts.get(layout, layout)


def _layouts(dims: tuple[Dim, ...], stated: StatedShape, possible: tuple[Layout, ...]) -> tuple[Layout, ...]:
    """The layouts that may be meant; none where nothing tells them apart."""
    if stated.layout is not None:
        return (stated.layout,)
    fitting = tuple(layout for layout in possible if _contradicts_nothing(dims, stated, layout)) or possible
    if len(fitting) == 1:
        return fitting
    wanted = COLOUR_COUNTS.keys() if stated.channels is None else (count_channels(stated.channels),)
    for found in (
        tuple(layout for layout in fitting if dims[AXES[layout][0]] in wanted),
        tuple(layout for layout in fitting if str(dims[AXES[layout][0]]).lower() in _CHANNEL_NAMES),
        tuple(layout for layout in fitting if _has_few_channels(dims, layout)),
    ):
        if found:
            return found
    fixed = all(isinstance(dims[AXES[layout][0]], int) for layout in fitting)
    return fitting if fixed else ()


def _is_unlikely(dims: tuple[Dim, ...], layout: Layout, possible: tuple[Layout, ...]) -> bool:
    """Whether another layout has 1 or 3 channels, and this one has not: then it was probably stated by mistake."""
    colours = [each for each in possible if dims[AXES[each][0]] in COLOUR_COUNTS]
    return bool(colours) and layout not in colours and isinstance(dims[AXES[layout][0]], int)


def _contradicts_nothing(dims: tuple[Dim, ...], stated: StatedShape, layout: Layout) -> bool:
    channels, *size = (_fixed(dims[axis]) for axis in AXES[layout])
    if stated.channels is not None and channels not in (None, count_channels(stated.channels)):
        return False
    return stated.size_hw is None or _fits(size, stated.size_hw)


def _fits(size: Sequence[int | None], stated: Sequence[int]) -> bool:
    return all(found in (None, wanted) for found, wanted in zip(size, stated, strict=True))


def _has_few_channels(dims: tuple[Dim, ...], layout: Layout) -> bool:
    """Whether the channels are fixed, and fewer than the rows and columns that are."""
    channels, *size = (_fixed(dims[axis]) for axis in AXES[layout])
    return channels is not None and all(side is None or channels < side for side in size)


def _fixed(dim: Dim) -> int | None:
    return dim if isinstance(dim, int) else None


def _dim(dim: object) -> Dim:
    if isinstance(dim, int):
        return dim if dim > 0 else None
    return str(dim) if dim is not None and str(dim) not in ("", "None", "?") else None
