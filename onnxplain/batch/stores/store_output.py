"""A folder of a store as the place for the parts of a batch."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

from pyarrow import fs

from onnxplain.batch.stores.storage import open_store, retried, scheme_of, shown_uri
from onnxplain.batch.stores.store_lock import LockTimes, hold_lock, owner_of_lock
from onnxplain.errors import OnnxplainError
from onnxplain.files.atomic import PART_SUFFIX
from onnxplain.runtime.image import one_line

LEFTOVER = ".onnxplain-"
"""How the name of a file begins that is still being written."""

_Result = TypeVar("_Result")

# An object of these appears as a whole, or not at all. Elsewhere a file is written beside and renamed.
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl")


@dataclass(frozen=True)
class StoreOutput:
    """A folder of a store that a URI names. What fails is tried again; then the store is named."""

    uri: str
    lock_times: LockTimes = field(default=LockTimes(), compare=False)

    @property
    def title(self) -> str:
        """The URI without options and keys."""
        return shown_uri(self.uri).rstrip("/")

    def read(self, name: str) -> bytes | None:
        """The content of an object; None if there is none."""
        return self.look(name, lambda stream: stream.read())

    def look(self, name: str, find: Callable[[BinaryIO], _Result]) -> _Result | None:
        """What `find` finds in an object; None if there is none."""

        def do(store: fs.FileSystem, path: str) -> _Result | None:
            try:
                with store.open_input_file(path) as stream:
                    return find(stream)
            except FileNotFoundError:
                return None

        return self._do(name, "read", do)

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Put an object in one request; in what is no object store, write it by another name and rename it."""
        put = _put if scheme_of(self.uri) in _OBJECT_STORES else _write_and_rename
        self._do(name, "written", lambda store, path: put(store, path, content))

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""

        def do(store: fs.FileSystem, path: str) -> None:
            with suppress(FileNotFoundError):
                store.delete_file(path)

        self._do(name, "removed", do)

    def times(self) -> dict[str, float]:
        """The objects and when each was written."""

        def do(store: fs.FileSystem, path: str) -> dict[str, float]:
            listed = store.get_file_info(fs.FileSelector(path, allow_not_found=True))
            files = (entry for entry in listed if entry.type == fs.FileType.File)
            return {entry.base_name: (entry.mtime_ns or 0) / 1e9 for entry in files}

        return self._do("", "listed", do)

    def lock(self) -> AbstractContextManager[object]:
        """An object that its owner renews; that of a process that was killed ends after 90 s."""
        return hold_lock(self, self.lock_times)

    def is_locked(self) -> bool | None:
        """Whether a process renewed the lock lately."""
        return owner_of_lock(self, self.lock_times) is not None

    def _do(self, name: str, verb: str, do: Callable[[fs.FileSystem, str], _Result]) -> _Result:
        def attempt() -> _Result:
            store, folder = open_store(self.uri)
            return do(store, f"{folder.rstrip('/')}/{name}".rstrip("/"))

        def error_of(problem: str) -> OnnxplainError:
            return OnnxplainError(
                f"{self.title}/{name}: cannot be {verb} ({problem}), expected a store that answers: check the address "
                "and the permissions; the same command continues"
            )

        try:
            return retried(attempt, error_of)
        except FileNotFoundError as error:
            raise error_of(one_line(error)) from error


def _put(store: fs.FileSystem, path: str, content: bytes | memoryview) -> None:
    if isinstance(store, fs.PyFileSystem):
        # Its streams would complete the upload of a part of the content when they are closed after an error.
        store.handler.fs.pipe_file(path, bytes(content))
        return
    # With `allow_delayed_open` a small object is one request.
    stream = store.open_output_stream(path)
    stream.write(content)
    stream.close()


def _write_and_rename(store: fs.FileSystem, path: str, content: bytes | memoryview) -> None:
    folder = path.rpartition("/")[0]
    beside = f"{folder}/{LEFTOVER}{secrets.token_hex(8)}{PART_SUFFIX}"
    store.create_dir(folder)
    stream = store.open_output_stream(beside)
    stream.write(content)
    stream.close()
    store.move(beside, path)
