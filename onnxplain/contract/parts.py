"""Parts of a preprocessing, each of which may be stated, read from a file, or left to be assumed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from onnxplain.contract.choices import Channels, PixelValues, Resize, check_channels, count_channels
from onnxplain.contract.image_input import ImageInput
from onnxplain.contract.origins import ASSUMED, STATED, Origin, Origins
from onnxplain.contract.preprocessing import CROP_SHARE, Preprocessing, assumed_preprocessing, preset
from onnxplain.contract.quantization import Quantization

# What the pixels are multiplied with, and what is subtracted and divided by then, belongs together: where one of these
# is known, the others are not taken from a preset.
NUMBERS = ("scale", "mean", "std")
# The share of a crop is a detail of the way of resizing.
RESIZING = ("resize", "crop_share")
PRESET_PARTS = ("channels", *NUMBERS)
# A part that says more about another.
DETAILS = {"resize": "crop_share", "pixels": "depth"}
GRAPH = "the graph"
PARTS = tuple(part.name for part in fields(Preprocessing))


@dataclass(frozen=True)
class PreprocessingParts:
    """Some parts of a `Preprocessing`; None for each part that is not known.

    `preset` names one of `PRESETS`: it stands for the parts channels, scale, mean and std that are None here. Which
    numbers they are depends on the model's input (`with_preset`).
    """

    channels: Channels | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: Resize | None = None
    crop_share: float | None = None
    pixels: PixelValues | None = None
    depth: int | None = None
    preset: str | None = None

    def __post_init__(self) -> None:
        if self.channels is not None:
            object.__setattr__(self, "channels", check_channels(self.channels))

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> PreprocessingParts:
        """All parts of a whole preprocessing."""
        return cls(**{part: getattr(preprocessing, part) for part in PARTS})

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the parts that are known."""
        return tuple(part for part in PARTS if getattr(self, part) is not None)

    @property
    def values(self) -> dict[str, Any]:
        """The parts that are known, by name."""
        return {part: getattr(self, part) for part in self.known}

    def with_preset(
        self, dtype: str, channels: Channels, quantization: Quantization | None = None
    ) -> PreprocessingParts:
        """The parts without a preset: its numbers for an input of that type and these channels take its place.

        Raises OnnxplainError for a preset that does not exist for them.
        """
        if self.preset is None:
            return self
        named = preset(self.preset, dtype, channels, quantization)
        numbers = {"channels": named.channels, "scale": named.scale, "mean": named.mean, "std": named.std}
        return replace(self, preset=None, **{**numbers, **self.values})

    def over(self, others: PreprocessingParts) -> PreprocessingParts:
        """These parts, and those of `others` where these are not known.

        Scale, mean and std belong together: where one of them is known here, none is taken from `others`. So do the way
        of resizing and the share of a crop.
        """
        return PreprocessingParts(**{**others.beside(self).values, **self.values})

    def beside(self, others: PreprocessingParts) -> PreprocessingParts:
        """These parts without those that `others` know, and without the rest of what belongs together with them."""
        known = {*others.known, *(() if others.preset is None else PRESET_PARTS)}
        for group in (NUMBERS, RESIZING):
            if known.intersection(group):
                known.update(group)
        return PreprocessingParts(**{part: value for part, value in self.values.items() if part not in known})


@dataclass(frozen=True)
class Completed:
    """A whole preprocessing, and where each of its parts comes from."""

    preprocessing: Preprocessing
    origins: Origins


def complete(
    stated: PreprocessingParts, read: PreprocessingParts, source: str | None, assumed: Preprocessing
) -> Completed:
    """The preprocessing from what the user stated, what was read from `source`, and what is assumed, in this order.

    Where scale, mean or std is known, what is missing of the three is neutral (1, 0 and 1): a preset's mean does not
    belong to another scale. Where the way of resizing is known without a share of the crop, the share is 0.875. None of
    the parts has a preset (`PreprocessingParts.with_preset`).
    """
    known = stated.over(read)
    parts = known.over(PreprocessingParts.of(assumed))
    neutral = PreprocessingParts(scale=1.0, mean=(0.0,), std=(1.0,), resize="crop", crop_share=CROP_SHARE)
    values = {part: getattr(parts, part) for part in PARTS}
    values |= {part: getattr(neutral, part) for part in (*NUMBERS, *RESIZING) if values[part] is None}
    origins = Origins.of_all(ASSUMED).with_parts(known.known, Origin("read", source))
    return Completed(Preprocessing(**values), origins.with_parts(stated.known, STATED))


def complete_input(
    image: ImageInput,
    stated: PreprocessingParts,
    read: PreprocessingParts,
    source: str | None = None,
    resize: Resize = "crop",
) -> Completed:
    """As `complete`, for an image input: what is assumed is what its type and channels suggest, and `resize`.

    Where the input has one channel, or a number that is no photo's, its channels have no order to assume: they are
    read from the graph, or from the file that closes them.
    """
    assumed = replace(assumed_preprocessing(image.dtype, image.channels, image.quantization), resize=resize)
    found = complete(stated.with_preset(image.dtype, image.channels, image.quantization), read, source, assumed)
    if found.origins.channels.kind != "assumed" or count_channels(image.channels) == count_channels("rgb"):
        return found
    source = image.channels_source or GRAPH
    return replace(found, origins=found.origins.with_parts(["channels"], Origin("read", source)))


def override(stated: PreprocessingParts, earlier: Completed) -> Completed:
    """The preprocessing of an explainable file, with the parts that the user states in place of the file's.

    A detail of a part that is stated anew gets its usual value: the share of a crop and the depth of the pixels.
    """
    details = [detail for part, detail in DETAILS.items() if part in stated.known and detail not in stated.known]
    usual = {detail: getattr(Preprocessing, detail) for detail in details}
    origins = earlier.origins.with_parts(details, ASSUMED).with_parts(stated.known, STATED)
    return Completed(replace(earlier.preprocessing, **usual, **stated.values), origins)


def as_parts(stated: Preprocessing | PreprocessingParts | None) -> PreprocessingParts:
    """What a user states, a whole preprocessing, parts of one or nothing, as parts.

    A whole preprocessing that leaves the pixels as they are is the preset ``raw``: for an input of integers this means
    pixels as integers, whatever real values they stand for.
    """
    if not isinstance(stated, Preprocessing):
        return PreprocessingParts() if stated is None else stated
    parts = PreprocessingParts.of(stated)
    plain = stated.scale == 1 and not any(stated.mean) and set(stated.std) == {1.0} and stated.pixels == "bytes"
    return replace(parts, scale=None, mean=None, std=None, preset="raw") if plain else parts
