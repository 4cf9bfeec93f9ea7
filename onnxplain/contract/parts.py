"""Parts of a preprocessing, each of which may be stated, read from a file, or left to be assumed."""

from __future__ import annotations

from dataclasses import dataclass, fields

from onnxplain.contract.choices import Channels, Resize
from onnxplain.contract.origins import ASSUMED, STATED, Origin, Origins
from onnxplain.contract.preprocessing import CROP_SHARE, Preprocessing

# What the pixels are multiplied with, and what is subtracted and divided by then, belongs together: where one of these
# is known, the others are not taken from a preset.
NUMBERS = ("scale", "mean", "std")
# The share of a crop is a detail of the way of resizing.
RESIZING = ("resize", "crop_share")


@dataclass(frozen=True)
class PreprocessingParts:
    """Some parts of a `Preprocessing`; None for each part that is not known."""

    channels: Channels | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: Resize | None = None
    crop_share: float | None = None

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> PreprocessingParts:
        """All parts of a whole preprocessing."""
        return cls(**{part.name: getattr(preprocessing, part.name) for part in fields(cls)})

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the parts that are known."""
        return tuple(part.name for part in fields(self) if getattr(self, part.name) is not None)

    def over(self, others: PreprocessingParts) -> PreprocessingParts:
        """These parts, and those of `others` where these are not known.

        Scale, mean and std belong together: where one of them is known here, none is taken from `others`. So do the way
        of resizing and the share of a crop.
        """
        taken = [part for part in others.known if part not in self.known]
        for group in (NUMBERS, RESIZING):
            if set(group) & set(self.known):
                taken = [part for part in taken if part not in group]
        return PreprocessingParts(
            **{part: getattr(self if part in self.known else others, part) for part in (*self.known, *taken)}
        )


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
    belong to another scale. Where the way of resizing is known without a share of the crop, the share is 0.875.
    """
    known = stated.over(read)
    parts = known.over(PreprocessingParts.of(assumed))
    neutral = PreprocessingParts(scale=1.0, mean=(0.0,), std=(1.0,), resize="crop", crop_share=CROP_SHARE)
    values = {part.name: getattr(parts, part.name) for part in fields(parts)}
    values |= {part: getattr(neutral, part) for part in (*NUMBERS, *RESIZING) if values[part] is None}
    origins = Origins.of_all(ASSUMED).with_parts(known.known, Origin("read", source))
    return Completed(Preprocessing(**values), origins.with_parts(stated.known, STATED))
