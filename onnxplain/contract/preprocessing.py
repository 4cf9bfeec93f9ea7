"""How pixels are converted to the model's input values, and the named presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnxplain.contract.choices import Channels, Resize, check_choice
from onnxplain.errors import OnnxplainError

LETTERBOX_GREY = 114
CROP_SHARE = 0.875


@dataclass(frozen=True)
class Preprocessing:
    """How pixels are converted to the model's input values: ``(pixel · scale − mean) / std``.

    `pixel` is 0–255. `mean` and `std` have one entry per channel, in the order of `channels`.
    `resize`: ``crop`` (resize the short side to size / `crop_share`, then cut out the centre), ``stretch``, or
    ``letterbox`` (the whole image with grey borders). `crop_share`: which part of the short side a crop keeps, above 0
    and at most 1; it has no meaning for the other ways.
    """

    channels: Channels = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: Resize = "crop"
    crop_share: float = CROP_SHARE

    def __post_init__(self) -> None:
        check_choice("channels", self.channels, Channels)
        check_choice("resize", self.resize, Resize)
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "crop_share", float(self.crop_share))
        if not 0 < self.crop_share <= 1:
            raise OnnxplainError(f"preprocessing: found crop_share {self.crop_share}, expected a number in (0, 1]")
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) == 1 and self.channel_count > 1:
                values *= self.channel_count
            if len(values) != self.channel_count:
                raise OnnxplainError(
                    f"preprocessing: {name} has {len(values)} values, but {self.channels} images have "
                    f"{self.channel_count} channels: give {self.channel_count} values, or one for all"
                )
            object.__setattr__(self, name, values)
        if not all(value > 0 for value in self.std):
            raise OnnxplainError(f"preprocessing: found std {list(self.std)}, expected positive numbers")

    @property
    def channel_count(self) -> int:
        """Number of image channels."""
        return 1 if self.channels == "gray" else 3


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
