"""How a tool resizes images, in the words of the contract."""

from __future__ import annotations

from dataclasses import dataclass

from onnxplain.contract import PreprocessingParts
from onnxplain.sidecars.problem import UnusableError


@dataclass(frozen=True)
class Resizing:
    """The contract's way of resizing, and the size of the result in pixels."""

    parts: PreprocessingParts
    size_hw: tuple[int, int]

    @classmethod
    def stretch(cls, size_hw: tuple[int, int]) -> Resizing:
        """Each side on its own."""
        return cls(PreprocessingParts(resize="stretch"), size_hw)

    @classmethod
    def crop(cls, size_hw: tuple[int, int], share: float) -> Resizing:
        """The short side to size / share, then the centre. Raises UnusableError for a share above 1."""
        if share > 1:
            raise UnusableError("a cut that is larger than the resized image, filled up with black", "a smaller cut")
        return cls(PreprocessingParts(resize="crop", crop_share=share), size_hw)


def crop_share(cut_hw: tuple[int, int], short_side: int) -> float:
    """The share of the short side that a square cut keeps. Raises UnusableError for another cut."""
    height, width = cut_hw
    if height != width:
        raise UnusableError(f"a cut of {height}x{width} from an image resized by its short side", "a square cut")
    return height / short_side
