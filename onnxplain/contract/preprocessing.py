"""How pixels are converted to the model's input values, and the named presets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from onnxplain.contract.choices import (
    COLOUR_COUNTS,
    Channels,
    PixelValues,
    Resize,
    check_channels,
    check_choice,
    count_channels,
)
from onnxplain.contract.expected import MOST_CHANNELS, Listed, Number, shown
from onnxplain.contract.quantization import INTEGER_LIMITS, Quantization
from onnxplain.errors import OnnxplainError

LETTERBOX_GREY = 114
CROP_SHARE = 0.875
MAX_DEPTH = 16
INT8_ZERO = 128.0


@dataclass(frozen=True)
class Preprocessing:
    """How pixels are converted to the model's input values: ``(pixel · scale − mean) / std``.

    For an input with a `Quantization` these are the real values that its integers stand for.
    `mean` and `std` have one entry per channel, in the order of `channels`: ``rgb``, ``bgr`` and ``gray`` are made from
    any photo; a number is for images that have this many channels themselves.
    `resize`: ``crop`` (resize the short side to size / `crop_share`, then cut out the centre), ``stretch``,
    ``letterbox`` (the whole image with grey borders), or ``letterbox-corner`` (borders at right and bottom alone).
    `crop_share`: which part of the short side a crop keeps, above 0 and at most 1; it has no meaning for the other
    ways.
    `pixels`: what `pixel` is. ``bytes``: 0–255; images of 16 bits are scaled to it. ``native``: the values of the
    image, of any type, as they are. `depth`: how many bits the values of 16-bit images use, 12 for example; None: all.
    It is only for ``bytes``.
    """

    channels: Channels = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: Resize = "crop"
    crop_share: float = CROP_SHARE
    pixels: PixelValues = "bytes"
    depth: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", check_channels(self.channels))
        check_choice("resize", self.resize, Resize)
        check_choice("pixels", self.pixels, PixelValues)
        self._check_depth()
        Number(nonzero=True).check("scale", self.scale)
        Number(positive=True, most=1).check("crop_share", self.crop_share)
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "crop_share", float(self.crop_share))
        for name, expected in (("mean", Number()), ("std", Number(positive=True))):
            Listed(expected, MOST_CHANNELS, least=1).check(name, getattr(self, name))
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) == 1 and self.channel_count > 1:
                values *= self.channel_count
            if len(values) != self.channel_count:
                raise OnnxplainError(
                    f"preprocessing: {name} has {len(values)} values, but {self.channels} images have "
                    f"{self.channel_count} channels: give {self.channel_count} values, or one for all"
                )
            object.__setattr__(self, name, values)

    @property
    def channel_count(self) -> int:
        """Number of image channels."""
        return count_channels(self.channels)

    @property
    def is_colour(self) -> bool:
        """Whether the channels are made from the colours of a photo, not images with channels of their own."""
        return isinstance(self.channels, str)

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value that pixels of 0–255 become, over all channels."""
        ends = [
            (pixel * self.scale - mean) / std
            for mean, std in zip(self.mean, self.std, strict=True)
            for pixel in (0, 255)
        ]
        return min(ends), max(ends)

    def _check_depth(self) -> None:
        if self.depth is None:
            return
        if isinstance(self.depth, bool) or not isinstance(self.depth, int) or not 1 <= self.depth <= MAX_DEPTH:
            raise OnnxplainError(f"depth: found {shown(self.depth)}, expected a number of bits from 1 to {MAX_DEPTH}")
        if self.pixels == "native":
            raise OnnxplainError(
                f"depth: found {self.depth} bits for native pixels, which are not scaled: leave one of the two out"
            )


PRESETS: Mapping[str, Preprocessing] = {
    "imagenet": Preprocessing("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preprocessing("bgr", 1.0, (104.0, 117.0, 123.0)),
    "inception": Preprocessing("rgb", 1 / 127.5, (1.0, 1.0, 1.0)),
    "unit": Preprocessing("rgb", 1 / 255),
    "raw": Preprocessing("rgb"),
}
GRAY_PRESETS: Mapping[str, Preprocessing] = {
    "imagenet": Preprocessing("gray", 1 / 255, (0.449,), (0.226,)),
    "inception": Preprocessing("gray", 1 / 127.5, (1.0,), (1.0,)),
    "unit": Preprocessing("gray", 1 / 255, (0.0,), (1.0,)),
    "raw": Preprocessing("gray", 1.0, (0.0,), (1.0,)),
}


def preset(name: str, dtype: str, channels: Channels, quantization: Quantization | None = None) -> Preprocessing:
    """The preset for an input of that type (``float32``, ``uint8`` …) and these channels.

    ``raw`` gives an input of integers the pixels themselves: uint8 takes pixel, int8 pixel − 128. With a `quantization`
    the numbers are those of the real values, also for ``raw``. Integers without one have the preset ``raw`` only: the
    values of the others would be rounded to a few integers. Presets of equal numbers for all channels exist for any
    number of channels. Raises OnnxplainError for any other.
    """
    if name != "raw" and dtype in INTEGER_LIMITS and quantization is None:
        raise OnnxplainError(
            f"preset: found {name!r} for an input of {dtype} without a quantization of its own, expected raw: give it, "
            "or --scale, --mean and --std in units of its integers"
        )
    count = count_channels(channels)
    presets = {1: GRAY_PRESETS, 3: PRESETS}.get(count, _uniform_presets())
    if name not in presets:
        raise OnnxplainError(
            f"preset: found {name!r}, expected a preset for images of {count} channel{'s' if count > 1 else ''} "
            f"({', '.join(presets)}): give one of these, or --mean, --std and --scale"
        )
    chosen = presets[name]
    if name == "raw" and dtype == "int8":
        chosen = replace(chosen, mean=(INT8_ZERO,))
    if chosen.channel_count != count:
        chosen = replace(chosen, channels=count, mean=chosen.mean[:1], std=chosen.std[:1])
    return quantization.real(chosen) if name == "raw" and quantization is not None else chosen


def presets_of(dtype: str, channels: Channels, quantization: Quantization | None = None) -> dict[str, Preprocessing]:
    """All presets that exist for an input, by name."""
    found = {}
    for name in PRESETS:
        with suppress(OnnxplainError):
            found[name] = preset(name, dtype, channels, quantization)
    return found


def assumed_preprocessing(dtype: str, channels: Channels, quantization: Quantization | None = None) -> Preprocessing:
    """What is assumed where nobody states it, in the order of channels that is given.

    ``imagenet`` for float inputs of one or three channels, ``unit`` for other numbers of channels, ``raw`` for
    integers.
    """
    name = "raw" if dtype in INTEGER_LIMITS else "imagenet" if count_channels(channels) in COLOUR_COUNTS else "unit"
    return replace(preset(name, dtype, channels, quantization), channels=channels)


def _uniform_presets() -> Mapping[str, Preprocessing]:
    """The presets whose numbers are equal for all channels."""
    return {name: each for name, each in PRESETS.items() if len(set(each.mean)) == len(set(each.std)) == 1}
