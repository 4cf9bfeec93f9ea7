"""RISE maps of all classes at once, from one set of masks."""

from __future__ import annotations

import numpy as np

from onnxplain.explainers.masked.masked_scores import MaskedScores
from onnxplain.explainers.masked.masks import MaskDraw
from onnxplain.explainers.progress import Progress
from onnxplain.explainers.rise.map_estimate import MapEstimator
from onnxplain.explainers.rise.samplers import MaskSampler
from onnxplain.explainers.rise.tally import BLOCK
from onnxplain.machine.small_products import small_product
from onnxplain.runtime.arrays import FloatArray

# Maps made at a time. Their sums are converted to float64 for this.
_CLASSES_AT_ONCE = 16


def map_all_classes(
    scores: MaskedScores[MaskDraw],
    sampler: MaskSampler,
    estimator: MapEstimator,
    masks: int,
    progress: Progress | None = None,
) -> FloatArray:
    """The map of every class, float32 (C, H, W), from masks 0 … `masks` − 1.

    There are no replicates. So this needs an eighth of the memory, C · H · W float32 each for the sums and the maps,
    but gives no standard error. Mean score and regression are fitted on all masks, not on the other replicates. This
    changes the expectation by the order of 1 / masks, far less than the standard error, of the order of 1 / √masks.
    """
    geometry, classes = sampler.geometry, len(scores.unmasked)
    cells = geometry.grid**2
    count = 0 if estimator.components is None else len(estimator.components)
    fitted = 0 if estimator.components is None else estimator.components.fitted
    scored_grids = np.zeros((*geometry.cell_hw, classes, cells), np.float32)
    grids = np.zeros((*geometry.cell_hw, cells))
    total, components = np.zeros(classes), np.zeros(count)
    products, scored = np.zeros((fitted, count)), np.zeros((classes, fitted))
    for first in range(0, masks, BLOCK):
        draw = sampler.draw(first, min(first + BLOCK, masks))
        block = scores(draw)
        for (y, x), grid, row in zip(draw.shifts_yx, draw.grids.reshape(-1, cells), block, strict=True):
            scored_grids[y, x] += row[:, None] * grid
            grids[y, x] += grid
        total += block.sum(axis=0, dtype=np.float64)
        if estimator.components is not None:
            values = estimator.components.values(draw)
            components += values.sum(axis=0)
            products += small_product(values[:, :fitted].T, values)
            scored += small_product(block.T.astype(np.float64), values[:, :fitted])
        if progress is not None:
            progress(first + len(draw), masks)
    base, slopes = estimator.fit(masks, total, components, products, scored)
    maps = np.empty((classes, *geometry.input_size_hw), np.float32)
    shape = (*geometry.cell_hw, geometry.grid, geometry.grid)
    for first in range(0, classes, _CLASSES_AT_ONCE):
        some = slice(first, first + _CLASSES_AT_ONCE)
        own = scored_grids[:, :, some].transpose(2, 0, 1, 3).reshape(-1, *shape).astype(np.float64)
        maps[some] = estimator.maps(base[some], slopes[some], masks, own, grids.reshape(shape), components, products)
    return maps
