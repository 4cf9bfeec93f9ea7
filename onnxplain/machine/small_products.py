"""Matrix products small enough that numpy's BLAS library uses only the calling thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# OpenBLAS uses several threads above m · n · k = 2^18. After the product these threads stay busy for a while, on the
# cores that ONNX Runtime needs for the next batch. The number of threads would also change the last bits.
LARGEST_PRODUCT = 2**18 - 1


def small_product(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``left @ right``, (…, m, k) and (…, k, n), a few columns at a time, all on the calling thread."""
    rows, inner = left.shape[-2:]
    lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    product = np.empty((*lead, rows, right.shape[-1]), np.result_type(left, right))
    width = max(1, LARGEST_PRODUCT // (rows * inner))
    for start in range(0, right.shape[-1], width):
        piece = slice(start, start + width)
        np.matmul(left, right[..., piece], out=product[..., piece])
    return product
