"""Natural backgrounds for generated data sets: photographs from scikit-image's wheel.

All are CC0 or public domain (NOTICE has the credits), so images made from them may be shared. Nothing is downloaded.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError

Split = Literal["train", "validation", "test"]

TEXTURES = ("brick", "chelsea", "coffee", "grass", "gravel", "rocket")

# The gap between the two: one stone or brick must not be half in a train crop and half in a test crop.
TRAIN_SHARE = 0.66
TEST_START = 0.70


def columns_of(split: Split, width: int) -> tuple[int, int]:
    """First and one-past-last column that `split` may use of a photograph `width` pixels wide."""
    return (round(TEST_START * width), width) if split == "test" else (0, round(TRAIN_SHARE * width))


@cache
def texture_region(name: str, split: Split) -> npt.NDArray[np.uint8]:
    """The part of photograph `name` that belongs to `split`: uint8 (H, W, 3) RGB, read-only.

    The test region shares no pixel with the other two. Raises OnnxplainError if scikit-image is missing.
    """
    try:
        import skimage.data
    except ImportError as error:
        raise OnnxplainError(
            'textures: scikit-image is not installed, generated data sets need it: pip install "onnxplain[train]"'
        ) from error
    if name not in TEXTURES:
        raise OnnxplainError(f"textures: found {name!r}, expected one of {', '.join(TEXTURES)}")
    photo = getattr(skimage.data, name)()
    if photo.ndim == 2:
        photo = np.repeat(photo[:, :, None], 3, axis=2)
    first, stop = columns_of(split, photo.shape[1])
    region = np.ascontiguousarray(photo[:, first:stop], dtype=np.uint8)
    region.flags.writeable = False
    return region
