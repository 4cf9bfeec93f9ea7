"""Array types. Shapes are given where an array is used: ``pixels_chw``, ``float32 (N, C)``."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
"""Arrays that models compute with: pixels, feature maps, scores, heatmaps."""

DoubleArray: TypeAlias = npt.NDArray[np.float64]
"""Arrays for long sums and statistics."""

ByteArray: TypeAlias = npt.NDArray[np.uint8]
"""Images as they are read and displayed."""

AnyArray: TypeAlias = npt.NDArray[Any]
"""Inputs and outputs of a session. The model file sets their types."""
