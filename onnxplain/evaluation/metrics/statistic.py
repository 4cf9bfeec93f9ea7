"""Statistics: from the mean values of the images to the number of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.max_box_accuracy import V2_IOUS
from onnxplain.explainers.levels import LEVELS
from onnxplain.runtime.arrays import DoubleArray


@dataclass(frozen=True)
class Statistic:
    """A number computed from the means of the `length` values that each image gives.

    `reduce`: float64 (…, length) → (…), also for many replicates at once. `details`: further values from the means
    (length,), by the suffix of their names. `per_level`: which of the values are the mean at each of the `LEVELS` cuts:
    name → position of the first.
    """

    length: int
    reduce: Callable[[DoubleArray], DoubleArray]
    details: Callable[[DoubleArray], dict[str, Any]] = lambda means: {}
    per_level: Mapping[str, int] = field(default_factory=dict)


def _best_level(means: DoubleArray) -> dict[str, Any]:
    return {"level": int(means.argmax())}


def _per_iou(means: DoubleArray) -> DoubleArray:
    best: DoubleArray = means.reshape(*means.shape[:-1], len(V2_IOUS), LEVELS).max(axis=-1)
    return best


MEAN = Statistic(1, lambda means: means[..., 0])
BEST_LEVEL = Statistic(LEVELS, lambda means: means.max(axis=-1), _best_level, {"": 0})
BEST_LEVEL_PER_IOU = Statistic(
    len(V2_IOUS) * LEVELS,
    lambda means: _per_iou(means).mean(axis=-1),
    lambda means: {"per_iou": dict(zip(map(str, V2_IOUS), _per_iou(means).tolist(), strict=True))},
    {f"IoU ≥ {iou}": LEVELS * position for position, iou in enumerate(V2_IOUS)},
)


def pack_bits(bits: npt.NDArray[np.bool_]) -> str:
    """Bits as hexadecimal text, four per digit, the first bit highest; padded with zeros to whole bytes."""
    return np.packbits(bits).tobytes().hex()


def unpack_bits(text: str, length: int) -> npt.NDArray[np.bool_]:
    """The `length` bits that `pack_bits` wrote. Raises OnnxplainError for other characters or another length."""
    try:
        packed = np.frombuffer(bytes.fromhex(text), np.uint8)
    except ValueError:
        packed = np.empty(0, np.uint8)
    if len(packed) != -(-length // 8):
        raise OnnxplainError(f"bits: found {text[:20]!r} …, expected {length} bits in hexadecimal")
    return np.unpackbits(packed, count=length).astype(np.bool_)
