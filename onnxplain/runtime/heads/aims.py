"""What heads need beside a target: the reference of an embedding, the region of a mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxplain.contract import ModelSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.arrays import FloatArray


def check_reference(spec: ModelSpec, reference: npt.ArrayLike | None, count: int) -> FloatArray | None:
    """The reference as float32 (N or 1, D); a single vector (D,) becomes (1, D).

    Raises OnnxplainError without an embedding head, for another shape, and for zeros or numbers that are not finite.
    """
    if reference is None:
        return None
    sizes = sorted({head.size for head in spec.heads if head.kind == "embedding"})
    if not sizes:
        raise OnnxplainError(f"reference: found one, expected none: {_listed(spec)}, no head is an embedding")
    array = np.asarray(reference, np.float32)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) not in (1, count) or array.shape[1] not in sizes:
        rows = "1" if count == 1 else f"1 or {count}"
        raise OnnxplainError(f"reference: found shape {array.shape}, expected ({rows}, {' or '.join(map(str, sizes))})")
    if not (np.isfinite(array).all() and array.any(axis=1).all()):
        raise OnnxplainError(
            "reference: found a vector of zeros, or numbers that are not finite, expected a vector with a direction: "
            "take the embedding of another image"
        )
    return array


def check_region(spec: ModelSpec, region: npt.ArrayLike | None, count: int) -> FloatArray | None:
    """The region as float32 (N or 1, 1, h, w), at the resolution of a mask head.

    Raises OnnxplainError without a mask head, for another shape, for an empty region, and for negative weights.
    """
    if region is None:
        return None
    sizes = {head.map_size_hw for head in spec.heads if head.map_size_hw is not None}
    if not sizes:
        raise OnnxplainError(f"region: found one, expected none: {_listed(spec)}, no head is a mask")
    array = np.asarray(region, np.float32)
    if array.ndim != 4 or len(array) not in (1, count) or array.shape[1] != 1 or array.shape[2:] not in sizes:
        height, width = sorted(sizes)[0]
        rows = "1" if count == 1 else f"1 or {count}"
        raise OnnxplainError(f"region: found shape {array.shape}, expected ({rows}, 1, {height}, {width})")
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any(axis=(1, 2, 3)).all()):
        raise OnnxplainError("region: found no cell in it, or weights below 0, expected weights from 0 to 1")
    return array


def _listed(spec: ModelSpec) -> str:
    return "the heads are " + ", ".join(f"{head.name} ({head.kind})" for head in spec.heads)
