"""Several targets of one image: in one forward pass where the layer can, else with a copy of the image for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxplain.contract import LayerSpec
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.sessions.batches import Batches

MOST_TARGETS = 32
GRADIENT_BYTES = 64 * 2**20
"""What the gradients of one run may take in memory."""

# Images float32 (N, C, H, W), targets int64 (N,), the sizes of the original images int64 (N, 2), and the rows of
# reference and region that belong to the targets → the outputs asked for.
Compute = Callable[
    [FloatArray, npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]], Sequence[AnyArray]
]


@dataclass(frozen=True, eq=False)
class OneImage:
    """An image, float32 (1, C, H, W), and the size of its original, int64 (1, 2)."""

    pixels: FloatArray
    size_hw: npt.NDArray[np.int64]


def targets_at_once(layers: Sequence[LayerSpec], *, together: bool = False) -> int:
    """How many targets of one image one run differentiates: fewer if the maps of a layer are large.

    `together`: one run gives the gradients of all layers.
    """
    sizes = [4 * layer.channels * math.prod(layer.size_hw) for layer in layers] or [1]
    return max(1, min(MOST_TARGETS, GRADIENT_BYTES // (sum(sizes) if together else max(sizes))))


def run_for_targets(
    compute: Compute,
    batches: Batches,
    image: OneImage,
    targets: npt.NDArray[np.int64],
    output_names: Sequence[str],
    layers: Collection[LayerSpec],
) -> list[AnyArray]:
    """The outputs for one image and several targets: a row per target of gradients, one row of all others.

    `layers`: all that the file has.
    """
    asked = [layer for layer in layers if layer.gradients in output_names]
    if not asked:
        return batches.run(compute, image.pixels, targets[:1], image.size_hw, np.arange(1))
    is_once = all(layer.many_targets for layer in asked)
    if is_once:
        size = targets_at_once(asked, together=True)
        parts = [
            compute(image.pixels, targets[rows], image.size_hw, rows)
            for rows in np.split(np.arange(len(targets)), range(size, len(targets), size))
        ]
    else:
        copies, sizes = (
            np.broadcast_to(each, (len(targets), *each.shape[1:])) for each in (image.pixels, image.size_hw)
        )
        parts = [batches.run(compute, copies, targets, sizes, np.arange(len(targets)))]
    differ = {layer.gradients for layer in asked}
    return [
        np.concatenate(outputs) if name in differ else outputs[0] if is_once else outputs[0][:1]
        for name, outputs in zip(output_names, zip(*parts, strict=True), strict=True)
    ]


def spread_row(array: FloatArray, count: int) -> FloatArray:
    """The single row of an array `count` times, without a copy; an array of several rows as it is."""
    return np.broadcast_to(array, (count, *array.shape[1:])) if len(array) == 1 else array
