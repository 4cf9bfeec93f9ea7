"""A folder of heatmaps in the WSOL benchmark's format: `<image id>.npy`, one 224 × 224 map per image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxplain.data.problem import Problem, ProblemError
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.metrics.max_box_accuracy import SCOREMAP_HW, scoremap
from onnxplain.files.atomic import write_atomically
from onnxplain.files.special import refuse_special
from onnxplain.runtime.geometry import make_frame


def heatmap_path(folder: Path, image_id: str) -> Path:
    """Path of an image's heatmap; the id may contain folders. Raises OnnxplainError for a path outside `folder`."""
    try:
        return _place(folder, image_id)
    except ProblemError as error:
        # A bad id stops an evaluation that writes heatmaps; when heatmaps are read, only that image is left out.
        raise OnnxplainError(f"{error}") from None


def write_heatmap(folder: Path, image_id: str, heatmap_hw: npt.NDArray[np.floating]) -> Path:
    """Write a heatmap's `scoremap`, float32 (224, 224) in [0, 1], whole or not at all; missing folders are created.

    Raises OnnxplainError for an id outside the folder and if the file cannot be written.
    """
    path = heatmap_path(folder, image_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OnnxplainError(f"{path.parent}: cannot be created ({error.strerror}), expected a folder") from error
    stream = io.BytesIO()
    np.save(stream, scoremap(heatmap_hw).astype(np.float32))
    write_atomically(path, stream.getvalue())
    return path


def read_heatmap(folder: Path, image_id: str, size_hw: tuple[int, int]) -> npt.NDArray[np.floating]:
    """The saved heatmap of an image of `size_hw` pixels: float (224, 224), or (H, W) of the image.

    Any float type; values may be outside [0, 1]. Raises ProblemError, with the path, for a file that is missing, is not
    an array of that type and size, or is not finite. Pickled files are refused without reading them.
    """
    path = _place(folder, image_id)
    try:
        refuse_special(path)
        with path.open("rb") as file:
            loaded = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise _problem(path, "found no heatmap, expected one for each image of the data set") from None
    except OSError as error:
        raise _problem(path, f"cannot be read ({error.strerror or error}): check the file") from error
    except (ValueError, MemoryError) as error:  # a damaged header may ask for any size
        raise _problem(path, f"found no numpy array ({error}), expected a .npy file of floats") from None
    if not np.issubdtype(loaded.dtype, np.floating) or loaded.shape not in (SCOREMAP_HW, size_hw):
        raise _problem(
            path,
            f"found {loaded.dtype} {loaded.shape}, expected float values, 224 × 224 or the size of the "
            f"image, {size_hw[0]} × {size_hw[1]} (height × width)",
        )
    if not np.isfinite(loaded).all():
        raise _problem(path, "found NaN or infinity, expected finite values")
    return loaded


def heat_over_image(heatmap_hw: npt.NDArray[np.floating], size_hw: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A saved heatmap at the size of its image, float32 (H, W) in [0, 1]: resized bilinearly, then scaled from its
    minimum and maximum to 0 and 1. A constant map gives zeros."""
    low, high = float(heatmap_hw.min()), float(heatmap_hw.max())
    if low == high:
        return np.zeros(size_hw, np.float32)
    # Scale before resizing: rounding errors of the interpolation must not become the range.
    heat: npt.NDArray[np.float32] = ((heatmap_hw.astype(np.float64) - low) / (high - low)).astype(np.float32)
    if heat.shape != size_hw:
        heat = make_frame(size_hw, SCOREMAP_HW, "stretch").map_to_image(heat)
        heat -= heat.min()
        peak = float(heat.max())
        heat /= peak if peak > 0 else 1
    return heat


def _place(folder: Path, image_id: str) -> Path:
    path, inside = folder / f"{image_id}.npy", Path(image_id)
    if not image_id or inside.is_absolute() or ".." in inside.parts or "\0" in image_id:
        raise _problem(path, f"found image id {image_id!r}, expected a name inside {folder}: rename the image")
    return path


def _problem(path: Path, message: str) -> ProblemError:
    return ProblemError(Problem(path, None, message))
