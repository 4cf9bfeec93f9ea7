"""Arrays by what they hold. Shapes stand where an array is used: ``pixels_chw``, ``float32 (N, C)``."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
"""What models compute in: pixels, feature maps, scores, heatmaps."""

DoubleArray: TypeAlias = npt.NDArray[np.float64]
"""What long sums and statistics are computed in."""

ByteArray: TypeAlias = npt.NDArray[np.uint8]
"""Images as they are read and shown."""

AnyArray: TypeAlias = npt.NDArray[Any]
"""What a session takes and gives: its types are the file's."""
