"""Handwritten digits as ink: scikit-learn's 8 x 8 samples, enlarged by interpolation and split by sample.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository
(CC BY 4.0), https://doi.org/10.24432/C50P49; scikit-learn contains its 1,797 test samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain.data.digits.textures import Split
from onnxplain.errors import OnnxplainError

GLYPH_CELLS = 10
"""Side of a glyph in cells of the 8 x 8 original: one empty cell on each side keeps the ink away from the border."""
GLYPH_SIDE = 80
MAX_INK = 16


@dataclass(frozen=True, eq=False)
class Glyphs:
    """The digits of one split.

    `ink`: uint8 (M, 80, 80), 0 paper to 255 ink. `classes`: int64 (M,), the digit. `samples`: int64 (M,),
    the position in scikit-learn's data set; no two splits share one.
    """

    ink: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.samples)


def samples_of(split: Split, count: int) -> npt.NDArray[np.int64]:
    """Which of `count` samples belong to `split`: of every ten, seven are train, one is validation, two are test."""
    samples = np.arange(count, dtype=np.int64)
    place = samples % 10
    chosen = {"train": place < 7, "validation": place == 7, "test": place > 7}
    members: npt.NDArray[np.int64] = samples[chosen[split]]
    return members


@cache
def load_glyphs(split: Split) -> Glyphs:
    """The glyphs of `split`; its arrays are read-only. Raises OnnxplainError if scikit-learn is missing."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise OnnxplainError(
            'digits: scikit-learn is not installed, the data set needs it: pip install "onnxplain[train]"'
        ) from error
    digits = load_digits()
    samples = samples_of(split, len(digits.target))
    ink = np.stack([_enlarge(digits.images[sample]) for sample in samples])
    classes = digits.target[samples].astype(np.int64)
    for array in (ink, classes, samples):
        array.flags.writeable = False
    return Glyphs(ink, classes, samples)


def _enlarge(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    padded = np.pad(cells, (GLYPH_CELLS - cells.shape[0]) // 2).astype(np.float32) * (255 / MAX_INK)
    smooth = cv2.resize(padded, (GLYPH_SIDE, GLYPH_SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)
