"""Images as encoded bytes: the content of an image file, or an open file of it."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy.typing as npt
from PIL import Image

from onnxplain.errors import ImageError

Decoded = str | os.PathLike[str] | Image.Image | npt.NDArray[Any]
Encoded = bytes | bytearray | memoryview | io.IOBase
ENCODED = (bytes, bytearray, memoryview, io.IOBase)


def open_encoded(image: Decoded | Encoded) -> Decoded:
    """The image that bytes or an open file hold, not yet decoded; anything else as it is. Raises ImageError."""
    if not isinstance(image, ENCODED):
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
