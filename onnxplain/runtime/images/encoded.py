"""Images in an envelope: the content of an image file, an open file of it, or an image that is prepared already."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy.typing as npt
from PIL import Image

from onnxplain.errors import ImageError
from onnxplain.runtime.images.prepared import PreparedImage

Decoded = str | os.PathLike[str] | Image.Image | npt.NDArray[Any]
Encoded = bytes | bytearray | memoryview | io.IOBase | PreparedImage
_BYTES = (bytes, bytearray, memoryview, io.IOBase)
ENCODED = (*_BYTES, PreparedImage)


def open_encoded(image: Decoded | Encoded) -> Decoded:
    """The image that bytes or an open file hold, not yet decoded; anything else as it is. Raises ImageError."""
    if isinstance(image, PreparedImage):
        return image.pixels
    if not isinstance(image, _BYTES):
        return image
    try:
        # A file is read from its beginning, so that the same object can be given again.
        if isinstance(image, io.IOBase):
            if image.seekable():
                image.seek(0)
            content = image.read()
        else:
            content = bytes(image)
        return Image.open(io.BytesIO(content))
    except Exception as error:  # decoders raise many kinds of errors for broken files
        raise ImageError(
            f"image: found {type(image).__name__} that holds no image ({type(error).__name__}), expected the "
            "content of an image file"
        ) from error
