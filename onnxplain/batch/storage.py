"""Files that a path or a URI names: a local disk, an object store, whatever pyarrow or fsspec opens."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
from pyarrow import fs

from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.runtime.image import one_line

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^/?]*)(?P<path>[^?]*)(?P<query>\?.*)?", re.DOTALL)
# What pyarrow opens itself; everything else is left to fsspec.
_OF_PYARROW = ("file", "s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
_PAUSES_SECONDS = (0.2, 1.0, 4.0)


def is_uri(text: str) -> bool:
    """Whether it is a URI with a scheme, such as ``s3://bucket/photos``."""
    return _URI.fullmatch(text) is not None


def without_options(text: str) -> str:
    """A URI without what follows after ``?``; a path as it is."""
    found = _URI.fullmatch(text)
    return text[: found.start("query")] if found is not None and found["query"] else text


def open_file(text: str) -> BinaryIO:
    """The file of a path or a URI, to be read from any place. Raises OSError."""
    if not is_uri(text):
        return Path(text).open("rb")
    filesystem, path = open_store(text)
    return cast("BinaryIO", filesystem.open_input_file(path))


def open_store(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a URI, and the path in it.

    A URI is taken as it is: nothing in its path is decoded. Options of the store may follow after ``?``. Raises
    OnnxplainError for a scheme whose package is missing, and for options that the store does not know.
    """
    parts = _split(uri)
    if parts["scheme"].lower() not in _OF_PYARROW:
        return _open_fsspec(uri, parts["scheme"])
    filesystem, root = _open_pyarrow(parts["scheme"], parts["host"], parts["query"] or "")
    return filesystem, root.rstrip("/") + parts["path"]


def list_store(uri: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """The URIs of the files under a URI, in any order; or the URI itself if it names a file.

    Files and folders whose name begins with a dot are left out. Raises OnnxplainError.
    """
    filesystem, path = open_store(uri)
    parts = _split(uri)
    try:
        info = filesystem.get_file_info(path)
        if info.type == fs.FileType.File:
            yield uri
            return
        found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    except (OSError, pa.ArrowException) as error:
        raise OnnxplainError(
            f"{uri}: cannot be listed ({one_line(error)}), expected a folder of images: check the address and the "
            "permissions"
        ) from error
    base = f"{parts['scheme']}://{parts['host']}{parts['path'].rstrip('/')}"
    for entry in found:
        inside = entry.path[len(path.rstrip("/")) :]
        hidden = any(name.startswith(".") for name in inside.split("/"))
        if entry.type == fs.FileType.File and not hidden and inside.lower().endswith(suffixes):
            yield f"{base}{inside}{parts['query'] or ''}"


def read_object(uri: str, pauses_seconds: tuple[float, ...] = _PAUSES_SECONDS) -> bytes:
    """The content of a URI. A store that fails is asked again after each pause. Raises ImageError."""
    for attempt in range(len(pauses_seconds) + 1):
        try:
            filesystem, path = open_store(uri)
            with filesystem.open_input_stream(path) as stream:
                content: bytes = stream.read()
            return content
        except FileNotFoundError:
            raise ImageError(f"{uri}: found no such object, expected an image: check the address") from None
        except (OSError, pa.ArrowException) as error:
            if attempt == len(pauses_seconds):
                raise ImageError(
                    f"{uri}: cannot be read ({one_line(error)}; {attempt + 1} attempts), expected an image: check the "
                    "store"
                ) from error
            time.sleep(pauses_seconds[attempt])
    raise AssertionError("the last attempt returns or raises")


def _split(uri: str) -> dict[str, str]:
    found = _URI.fullmatch(uri)
    if found is None:
        raise OnnxplainError(f"{uri}: found no URI, expected one such as s3://bucket/photos")
    return found.groupdict()


@functools.cache
def _open_pyarrow(scheme: str, host: str, query: str) -> tuple[fs.FileSystem, str]:
    base = f"{scheme}://{host}{'' if host else '/'}{query}"
    try:
        filesystem, root = fs.FileSystem.from_uri(base)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise OnnxplainError(
            f"{base}: cannot be opened ({one_line(error)}), expected a store that pyarrow {pa.__version__} knows: "
            "check the address and its options"
        ) from error
    return filesystem, root


def _open_fsspec(uri: str, scheme: str) -> tuple[fs.FileSystem, str]:
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise OnnxplainError(
            f"{uri}: found a URI of {scheme}, which pyarrow does not open, and no fsspec, which may: run pip install "
            "fsspec"
        ) from error
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        raise OnnxplainError(
            f"{uri}: found no package for {scheme} ({one_line(error)}), expected it: install it"
        ) from error
    except ValueError as error:
        raise OnnxplainError(
            f"{uri}: found the scheme {scheme} ({one_line(error)}), expected one that pyarrow or fsspec opens, such as "
            "file, s3, gs, abfs or hdfs"
        ) from error
    wrapped: Any = fs.PyFileSystem(fs.FSSpecHandler(filesystem))
    return wrapped, path
