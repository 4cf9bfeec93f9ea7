"""The IMAGE arguments: expand files, folders and patterns, and read the images."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onnxplain.errors import ImageError

if TYPE_CHECKING:
    from onnxplain.runtime.arrays import AnyArray
    from onnxplain.runtime.engine import Engine


def expand_images(arguments: Sequence[str]) -> list[Path]:
    """The files that the arguments name, each once. A folder stands for the images directly in it, sorted by name.

    An argument that matches nothing is kept, so that `read_image` raises an error for it.
    """
    from onnxplain.runtime.image import IMAGE_SUFFIXES

    paths: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
        elif path.exists() or not glob.has_magic(argument):
            found = [path]
        else:
            found = sorted(Path(name) for name in glob.glob(argument, recursive=True) if Path(name).is_file())  # noqa: PTH207
        paths.extend(found or [path])
    return list(dict.fromkeys(paths))


def read_image(engine: Engine, path: Path, max_megapixels: float | None) -> AnyArray:
    """The pixels as the engine reads them. Raises ImageError, also for a folder or pattern without images."""
    from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS, IMAGE_SUFFIXES

    if path.is_dir():
        raise ImageError(f"{path}: found no image in this folder, expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    if glob.has_magic(str(path)) and not path.exists():
        raise ImageError(f"{path}: found no file that matches, expected at least one image: check the pattern")
    return engine.read(path, DEFAULT_MAX_MEGAPIXELS if max_megapixels is None else max_megapixels)
