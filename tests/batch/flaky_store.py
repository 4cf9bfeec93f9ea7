"""Stores in memory that fail as they are told: one that puts objects, and one that files are renamed in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFile, MemoryFileSystem


class ServiceError(Exception):
    """As stores have their own, which are no OSError."""


class FlakyStore(MemoryFileSystem):
    """`fails`: asked with the operation's name and its number before each operation; True: it fails half-way."""

    protocol = ("az",)
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    fails: ClassVar[Callable[[str, int], bool]] = staticmethod(lambda name, number: False)
    operations: ClassVar[list[tuple[str, str]]] = []
    _counting: ClassVar[threading.Lock] = threading.Lock()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        if self._is_to_fail("put", path):
            raise ServiceError("503 slow down")
        key = self._strip_protocol(path)
        self.store[key] = MemoryFile(self, key, value)

    def mv(self, path1: str, path2: str, **more: Any) -> None:
        if self._is_to_fail("rename", path2):
            raise TimeoutError("timed out")
        self.store[self._strip_protocol(path2)] = self.store.pop(self._strip_protocol(path1))

    def rm_file(self, path: str) -> None:
        if self._is_to_fail("remove", path):
            raise TimeoutError("timed out")
        super().rm_file(path)

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        if self._is_to_fail("list", path):
            raise ServiceError("500 internal error")
        return super().ls(path, detail, **more)

    def open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        if "w" not in mode:
            if self._is_to_fail("read", path):
                raise TimeoutError("timed out")
            return super().open(path, mode, **more)
        stream = super().open(path, mode, **more)
        if self._is_to_fail("write", path):
            # What was written so far is there.
            stream.write(b"half")
            stream.close()
            raise ServiceError("connection reset")
        return stream

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol("/" + path.rpartition("://")[2].lstrip("/"))

    @classmethod
    def empty(cls) -> None:
        cls.store.clear()
        cls.operations.clear()
        cls.pseudo_dirs[:] = [""]
        cls.fails = staticmethod(lambda name, number: False)

    @classmethod
    def content(cls, folder: str) -> dict[str, bytes]:
        """The files of a folder, by name."""
        start = f"/{folder}/"
        return {path[len(start) :]: file.getvalue() for path, file in cls.store.items() if path.startswith(start)}

    @classmethod
    def _is_to_fail(cls, name: str, path: str) -> bool:
        # The thread that renews the lock is not part of what is counted.
        if ".lock" in path:
            return False
        with cls._counting:
            cls.operations.append((name, path))
            return cls.fails(name, len(cls.operations))


class RenamingStore(FlakyStore):
    """The same where a file is written beside and renamed."""

    protocol = ("renaming",)
