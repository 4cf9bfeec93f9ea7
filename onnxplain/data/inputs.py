"""Images as model inputs: training uses exactly the same pixels as the engine at run time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onnxplain.contract import Preprocessing
from onnxplain.runtime.geometry import make_frame
from onnxplain.runtime.preprocess import normalise, warp_image


def model_inputs(
    images: Sequence[npt.NDArray[np.uint8]], size_hw: tuple[int, int], preprocessing: Preprocessing
) -> npt.NDArray[np.float32]:
    """Images, uint8 (H, W, 3) RGB of any size → float32 (N, C, h, w), resized and normalised."""
    resize, share = preprocessing.resize, preprocessing.crop_share
    warped = [warp_image(image, make_frame(image.shape[:2], size_hw, resize, share)) for image in images]
    return normalise(np.stack(warped), preprocessing)
