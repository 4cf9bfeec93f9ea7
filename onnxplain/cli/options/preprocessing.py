"""Options that say how pixels become the model's input. All commands that take a model share them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, get_args

import click

from onnxplain.cli.options.gather import gather, stack
from onnxplain.contract import (
    MAX_DEPTH,
    PRESETS,
    Channels,
    ColourOrder,
    Layout,
    PixelValues,
    PreprocessingParts,
    Resize,
)


@dataclass(frozen=True)
class StatedInput:
    """What the options say about the model's input. None: not given, the file's own value or an assumed one is used."""

    preset: str | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    channels: Channels | None = None
    layout: Layout | None = None
    resize: Resize | None = None
    pixels: PixelValues | None = None
    depth: int | None = None

    @property
    def parts(self) -> PreprocessingParts | None:
        """The parts of the preprocessing that are given; None if there are none. Size and layout are not among them."""
        parts = PreprocessingParts(
            channels=self.channels,
            scale=self.scale,
            mean=self.mean,
            std=self.std,
            resize=self.resize,
            pixels=self.pixels,
            depth=self.depth,
            preset=self.preset,
        )
        return None if parts == PreprocessingParts() else parts


class _ChannelsType(click.ParamType):  # type: ignore[type-arg]
    """rgb, bgr, gray, or a number."""

    name = "channels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Channels:
        if value in get_args(ColourOrder):
            return value  # type: ignore[no-any-return]
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"found {value!r}, expected {', '.join(get_args(ColourOrder))} or a positive number", param, ctx)
        return int(value)


def read_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """``HxW`` → (H, W)."""
    if value is None:
        return None
    height, _, width = value.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) > 0 and int(width) > 0):
        raise click.BadParameter(f"found {value!r}, expected height x width in pixels, such as 224x224")
    return int(height), int(width)


def _read_channel_numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """``0.485,0.456,0.406`` or one number for all channels → floats."""
    if value is None:
        return None
    numbers = tuple(_read_number(part) for part in value.split(","))
    return numbers


def _read_scale(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    return None if value is None else _read_number(value)


def _read_number(text: str) -> float:
    """A number, or a fraction such as ``1/255``."""
    try:
        return float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(
            f"found {text!r}, expected a number such as 0.5, or a fraction such as 1/255"
        ) from None


preprocessing_options = stack(
    click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        help="Preprocessing that many models share. imagenet: RGB, scale 1/255, mean 0.485,0.456,0.406, "
        "std 0.229,0.224,0.225. caffe: BGR, scale 1, mean 104,117,123. inception: RGB, scaled to -1…1. unit: RGB, "
        "scaled to 0…1. raw: RGB, pixels 0–255 unchanged. --mean, --std, --scale and --channels replace single parts.",
    ),
    click.option(
        "--size",
        metavar="HxW",
        callback=read_size,
        help="Height and width of the model's input. Needed only if the file does not fix them.",
    ),
    click.option(
        "--mean",
        metavar="A,B,C",
        callback=_read_channel_numbers,
        help="Mean, subtracted after scaling: one number, or one per channel.",
    ),
    click.option(
        "--std",
        metavar="A,B,C",
        callback=_read_channel_numbers,
        help="Standard deviation, the divisor after that: one number, or one per channel.",
    ),
    click.option(
        "--scale",
        metavar="NUMBER",
        callback=_read_scale,
        help="Factor for the pixels 0–255, applied first: a number, or a fraction such as 1/255.",
    ),
    click.option(
        "--channels",
        type=_ChannelsType(),
        metavar="rgb|bgr|gray|NUMBER",
        help="Channel order of the input, or how many channels it has, if they are not colours. --mean and --std use "
        "the same order. Images with channels of their own are NumPy arrays (.npy) or TIFF files.",
    ),
    click.option(
        "--layout",
        type=click.Choice(get_args(Layout)),
        help="Order of the input's axes; chw and hwc have no batch axis. Needed only if its shape is ambiguous.",
    ),
    click.option(
        "--resize",
        type=click.Choice(get_args(Resize)),
        help="crop: resize the short side to size / 0.875, then cut out the centre. stretch: the whole image, without "
        "keeping its aspect ratio. letterbox: the whole image, with grey borders. letterbox-corner: the same, with "
        "borders at right and bottom alone.",
    ),
    click.option(
        "--pixels",
        type=click.Choice(get_args(PixelValues)),
        help="What --scale, --mean and --std apply to. bytes: pixels 0–255; images of 16 bits are scaled to them. "
        "native: the values of the image as they are, such as 16-bit integers or floats. Default: bytes.",
    ),
    click.option(
        "--depth",
        type=click.IntRange(min=1, max=MAX_DEPTH),
        metavar="BITS",
        help="How many bits the values of 16-bit images use, such as 12 for X-ray images. Default: all 16.",
    ),
    gather("stated", StatedInput),
)
"""Give a command the preprocessing options; it receives them as one `StatedInput` called `stated`."""
