"""Options that say how pixels become the model's input. All commands that take a model share them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import get_args

import click

from onnxplain.cli.options.gather import gather, stack
from onnxplain.contract import CROP_SHARE, GRAY_PRESETS, PRESETS, Channels, Layout, Preprocessing, Resize
from onnxplain.errors import OnnxplainError


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

    @property
    def preprocesses(self) -> bool:
        """Whether any option concerns the preprocessing; size and layout do not."""
        return any(getattr(self, name) is not None for name in ("preset", *_PARTS))

    def apply(self, base: Preprocessing) -> Preprocessing:
        """`base` with all given parts replaced: first by the preset's numbers, then by each single option.

        A preset does not change the resizing. Raises OnnxplainError if the parts do not fit together.
        """
        gray = (self.channels or base.channels) == "gray"
        presets = GRAY_PRESETS if gray else PRESETS
        numbers = base
        if self.preset is not None:
            if self.preset not in presets:
                raise OnnxplainError(
                    f"preset: found {self.preset!r}, expected a preset for images of one channel "
                    f"({', '.join(presets)}): give one of these, or --mean, --std and --scale"
                )
            numbers = replace(presets[self.preset], resize=base.resize, crop_share=base.crop_share)
        elif gray != (base.channels == "gray"):
            numbers = replace(presets["imagenet"], resize=base.resize, crop_share=base.crop_share)
        stated = {name: getattr(self, name) for name in _PARTS if getattr(self, name) is not None}
        if self.resize is not None:
            numbers = replace(numbers, crop_share=CROP_SHARE)  # The share that was read belongs to another --resize.
        return replace(numbers, **stated)


_PARTS = ("channels", "scale", "mean", "std", "resize")


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
    if len(numbers) not in (1, 3):
        raise click.BadParameter(f"found {len(numbers)} numbers, expected one, or one per channel: 0.485,0.456,0.406")
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
        type=click.Choice(get_args(Channels)),
        help="Channel order of the input. --mean and --std use the same order.",
    ),
    click.option(
        "--layout",
        type=click.Choice(get_args(Layout)),
        help="Order of the input's axes. Needed only if its shape is ambiguous.",
    ),
    click.option(
        "--resize",
        type=click.Choice(get_args(Resize)),
        help="crop: resize the short side to size / 0.875, then cut out the centre. stretch: the whole image, without "
        "keeping its aspect ratio. letterbox: the whole image, with grey borders.",
    ),
    gather("stated", StatedInput),
)
"""Give a command the preprocessing options; it receives them as one `StatedInput` called `stated`."""
