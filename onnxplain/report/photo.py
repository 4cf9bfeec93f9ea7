"""The photo of an image as the page embeds it: a small JPEG, and whether it is still the one that was explained."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.explanations.run_record import hash_of
from onnxplain.runtime.arrays import ByteArray

LONGEST_SIDE = 640
_QUALITY = 82


@dataclass(frozen=True)
class Photo:
    """A photo as a data URL, or why there is none. `changed`: the file is not the one that was explained."""

    url: str | None
    changed: bool = False
    reason: str = ""


def read_photo(path: Path, sha256: str, size_hw: tuple[int, int], max_megapixels: float) -> Photo:
    """The photo at `path`, at most 640 pixels long. `size_hw`, `sha256`: of the image that was explained.

    A file that is missing, cannot be read or has another size gives no picture, but the reason.
    """
    from onnxplain.runtime.image import load_image
    from onnxplain.runtime.images.pixels import picture_of

    try:
        changed = hash_of(path) != sha256
        picture = picture_of(path, size_hw) if path.suffix.lower() == ".npy" else load_image(path, max_megapixels)
    except (ImageError, OnnxplainError) as error:
        return Photo(None, reason=str(error).replace(str(path), path.name))
    if picture.shape[:2] != tuple(size_hw):
        return Photo(None, True, f"{path.name}: found another image than the one that was explained")
    return Photo(jpeg_url(picture), changed)


def jpeg_url(picture_hwc: ByteArray) -> str:
    """A picture uint8 (H, W, 3) RGB as the data URL of a JPEG, shrunk to `LONGEST_SIDE`."""
    image = Image.fromarray(picture_hwc)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
