"""A label map from a file: which player each pixel of an image belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.errors import OnnxplainError

_EXPECTED = (
    "a label map in the size of the image: whole numbers (H, W) as .npy, or an image of one channel such as a PNG of "
    "grey values or of a palette"
)


def read_player_map(path: Path) -> npt.NDArray[Any]:
    """Whole numbers (H, W) from a .npy file or an image of one channel. Raises OnnxplainError for anything else."""
    labels = _read_array(path) if path.suffix == ".npy" else _read_picture(path)
    check_label_map(labels, str(path))
    return labels


def check_label_map(labels: npt.NDArray[Any], name: str) -> None:
    """Raise OnnxplainError for an array that is no label map. `name`: what the message calls it."""
    if labels.ndim != 2 or labels.dtype.kind not in "iub" or not labels.size:
        raise OnnxplainError(f"players: found {name} ({labels.dtype} {labels.shape}), expected {_EXPECTED}")


def _read_array(path: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise OnnxplainError(f"players: found {path}, which numpy cannot read, expected {_EXPECTED}") from error


def _read_picture(path: Path) -> npt.NDArray[Any]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            labels = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OnnxplainError(f"players: found {path}, which Pillow cannot read, expected {_EXPECTED}") from error
    return labels
