"""Where a batch writes to: a local folder, or one in a store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from onnxplain.batch.stores.storage import is_uri, open_store, path_of_uri, scheme_of
from onnxplain.batch.stores.store_output import StoreOutput
from onnxplain.errors import OnnxplainError
from onnxplain.files.atomic import write_atomically
from onnxplain.files.lock import is_folder_locked, lock_folder

_Result = TypeVar("_Result")


class OutputPlace(Protocol):
    """The files of one folder, by their names. All methods raise OnnxplainError; an instance can be pickled."""

    @property
    def title(self) -> str:
        """How it is named to the user."""
        ...

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        ...

    def look(self, name: str, find: Callable[[BinaryIO], _Result]) -> _Result | None:
        """What `find` finds in a file, which it can read from any place; None if there is no such file.

        `find` is called again if the store fails meanwhile.
        """
        ...

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file completely or not at all; it replaces one that is there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def times(self) -> dict[str, float]:
        """The files and when each was written, seconds since 1970; none if there is no such folder."""
        ...

    def lock(self) -> AbstractContextManager[object]:
        """Let no other process write there while the context lasts."""
        ...

    def is_locked(self) -> bool | None:
        """Whether a process has the lock; None: cannot be told."""
        ...


def open_output(text: str) -> OutputPlace:
    """The folder of a path or a URI. Raises OnnxplainError for a file, and for a URI whose package is missing."""
    if is_uri(text) and scheme_of(text) != "file":
        if scheme_of(text) == "memory":
            raise OnnxplainError(f"-o: found {text}, which ends with this process, expected a folder or a store")
        open_store(text)
        return StoreOutput(text)
    folder = Path(path_of_uri(text) if is_uri(text) else text)
    if folder.exists() and not folder.is_dir():
        raise OnnxplainError(f"-o: found the file {text}, expected a folder: give another name")
    return LocalOutput(folder)


@dataclass(frozen=True)
class LocalOutput:
    """A folder of a local disk, or of a network disk that all machines see under the same path."""

    path: Path

    @property
    def title(self) -> str:
        """The path."""
        return str(self.path)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        return self.look(name, lambda stream: stream.read())

    def look(self, name: str, find: Callable[[BinaryIO], _Result]) -> _Result | None:
        """What `find` finds in a file; None if there is none."""
        try:
            with (self.path / name).open("rb") as stream:
                return find(stream)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self.path / name, error) from error

    def write(self, name: str, content: bytes | memoryview) -> None:
        """Write a file by a temporary name, flush it and rename it."""
        write_atomically(self.path / name, content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise OnnxplainError(
                f"{self.path / name}: cannot be removed ({error.strerror}), expected a folder that can be written to: "
                "check its permissions"
            ) from error

    def times(self) -> dict[str, float]:
        """The files and when each was written."""
        found = {}
        try:
            for path in self.path.iterdir() if self.path.is_dir() else ():
                with suppress(FileNotFoundError):
                    found[path.name] = path.stat().st_mtime
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return found

    def lock(self) -> AbstractContextManager[object]:
        """The system releases it when this process ends."""
        return lock_folder(self.path)

    def is_locked(self) -> bool | None:
        """Whether a process has the lock."""
        return is_folder_locked(self.path)


def _unreadable(path: Path, error: OSError) -> OnnxplainError:
    return OnnxplainError(
        f"{path}: cannot be read ({error.strerror}), expected the files of a batch: check the permissions, or give "
        "another folder with -o"
    )
