"""Files that a path or a URI names: a local disk, an object store, whatever pyarrow or fsspec opens."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import pyarrow as pa
from pyarrow import fs

from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.runtime.image import one_line

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^/?]*)(?P<path>[^?]*)(?P<query>\?.*)?", re.DOTALL)
# What pyarrow opens itself; everything else is left to fsspec.
_OF_PYARROW = ("file", "s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
# A small object of S3 is written in one request, not in three. Google's client goes on for 15 minutes.
_DEFAULTS = {
    "s3": ("allow_delayed_open=true",),
    "gs": ("retry_limit_seconds=20",),
    "gcs": ("retry_limit_seconds=20",),
}
PAUSES_SECONDS = (0.2, 1.0, 4.0)
"""After each of them a store that failed is asked again."""

_Result = TypeVar("_Result")


def is_uri(text: str) -> bool:
    """Whether it is a URI with a scheme, such as ``s3://bucket/photos``."""
    return _URI.fullmatch(text) is not None


def without_options(text: str) -> str:
    """A URI without what follows after ``?``; a path as it is."""
    found = _URI.fullmatch(text)
    return text[: found.start("query")] if found is not None and found["query"] else text


def shown_uri(uri: str) -> str:
    """A URI as it may be shown: without its options, and without keys before the host."""
    parts = _split(uri)
    return f"{parts['scheme']}://{parts['host'].rpartition('@')[2]}{parts['path']}"


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

    def look() -> list[fs.FileInfo] | None:
        if filesystem.get_file_info(path).type == fs.FileType.File:
            return None
        return list(filesystem.get_file_info(fs.FileSelector(path, recursive=True)))

    def error_of(problem: str) -> OnnxplainError:
        return OnnxplainError(
            f"{uri}: cannot be listed ({problem}), expected a folder of images: check the address and the permissions"
        )

    try:
        found = retried(look, error_of)
    except FileNotFoundError as error:
        raise error_of(one_line(error)) from error
    if found is None:
        yield uri
        return
    base = f"{parts['scheme']}://{parts['host']}{parts['path'].rstrip('/')}"
    for entry in found:
        inside = entry.path[len(path.rstrip("/")) :]
        hidden = any(name.startswith(".") for name in inside.split("/"))
        if entry.type == fs.FileType.File and not hidden and inside.lower().endswith(suffixes):
            yield f"{base}{inside}{parts['query'] or ''}"


def read_object(uri: str, pauses_seconds: tuple[float, ...] | None = None) -> bytes:
    """The content of a URI. A store that fails is asked again after each pause. Raises ImageError."""

    def read() -> bytes:
        filesystem, path = open_store(uri)
        with filesystem.open_input_stream(path) as stream:
            content: bytes = stream.read()
        return content

    try:
        return retried(
            read,
            lambda problem: ImageError(f"{uri}: cannot be read ({problem}), expected an image: check the store"),
            pauses_seconds,
        )
    except FileNotFoundError:
        raise ImageError(f"{uri}: found no such object, expected an image: check the address") from None


def retried(
    attempt: Callable[[], _Result],
    error_of: Callable[[str], OnnxplainError],
    pauses_seconds: tuple[float, ...] | None = None,
) -> _Result:
    """What `attempt` returns. A store that fails is asked again after each pause; a refusal is final.

    Raises FileNotFoundError, or `error_of` the last problem and the number of attempts.
    """
    pauses = PAUSES_SECONDS if pauses_seconds is None else pauses_seconds
    for pause in (*pauses, None):
        try:
            return attempt()
        except (FileNotFoundError, OnnxplainError):
            raise
        except PermissionError as error:
            raise error_of(one_line(error)) from error
        except NotImplementedError as error:
            raise error_of("its package cannot do this") from error
        except Exception as error:
            # Stores raise errors of their own packages.
            if pause is None:
                raise error_of(f"{one_line(error)}; {len(pauses) + 1} attempts") from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def scheme_of(uri: str) -> str:
    """The scheme of a URI in lower case: ``s3``."""
    return _split(uri)["scheme"].lower()


def path_of_uri(uri: str) -> str:
    """The path of a URI, without the host and the options."""
    return _split(uri)["path"]


def _split(uri: str) -> dict[str, str]:
    found = _URI.fullmatch(uri)
    if found is None:
        raise OnnxplainError(f"{uri}: found no URI, expected one such as s3://bucket/photos")
    return found.groupdict()


@functools.cache
def _open_pyarrow(scheme: str, host: str, query: str) -> tuple[fs.FileSystem, str]:
    base = f"{scheme}://{host}{'' if host else '/'}{query}"

    def error_of(problem: str) -> OnnxplainError:
        return OnnxplainError(
            f"{shown_uri(base)}: cannot be opened ({problem}), expected a store that pyarrow {pa.__version__} knows: "
            "check the address and its options"
        )

    def attempt() -> tuple[fs.FileSystem, str]:
        # To find a bucket's region, the store is asked.
        try:
            filesystem, root = fs.FileSystem.from_uri(_with_defaults(scheme, base))
        except ValueError as error:
            raise error_of(one_line(error)) from error
        return filesystem, root

    try:
        return retried(attempt, error_of)
    except FileNotFoundError as error:
        raise error_of(one_line(error)) from error


def _with_defaults(scheme: str, uri: str) -> str:
    """The URI with the options of `_DEFAULTS` that it does not state."""
    for option in _DEFAULTS.get(scheme.lower(), ()):
        if f"{option.partition('=')[0]}=" not in uri:
            uri += f"{'&' if '?' in uri else '?'}{option}"
    return uri


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
    # Another process may have written since the last listing.
    filesystem.invalidate_cache()
    wrapped: Any = fs.PyFileSystem(fs.FSSpecHandler(filesystem))
    return wrapped, path
