"""Superpixels: regions of similar colour, found by SLIC of scikit-image (extra `methods`)."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from onnxplain.runtime.arrays import FloatArray

# Of SLIC (Achanta et al. 2012), in the units of CIELAB: how much place counts beside colour. 10 is usual for photos. In
# noise it leaves hardly any region large enough to be one; there place counts more.
_COMPACTNESS = (10.0, 100.0, 1000.0)


def has_superpixels() -> bool:
    """Whether scikit-image is installed."""
    return find_spec("skimage") is not None


def find_superpixels(pixels_chw: FloatArray, count: int) -> npt.NDArray[np.int64]:
    """About `count` superpixels of an image, float32 (C, h, w) in any unit: labels, int64 (h, w).

    Three channels are taken as colours and compared in CIELAB after each image is stretched to 0–1; other numbers of
    channels are compared as they are, stretched to the range of L. Where fewer than half are found, regions become
    more compact.
    """
    from skimage.segmentation import slic

    count = min(count, pixels_chw.shape[1] * pixels_chw.shape[2])
    low, high = float(pixels_chw.min()), float(pixels_chw.max())
    image = ((pixels_chw - low) / ((high - low) or 1)).transpose(1, 2, 0)
    colours = image.shape[2] == 3
    for compactness in _COMPACTNESS:
        labels = slic(
            image if colours else 100 * image,
            n_segments=count,
            compactness=compactness,
            convert2lab=colours,
            start_label=0,
            channel_axis=-1,
        )
        if 2 * len(np.unique(labels)) >= count:
            break
    return np.asarray(labels, np.int64)
