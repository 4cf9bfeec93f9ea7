"""One writer at a time for a folder or a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnxplain.errors import OnnxplainError

FOLDER_LOCK = ".onnxplain.lock"

# Some network file systems have no locks.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Let no other process write to `folder` while the context lasts; the folder is made if it is missing.

    A folder that was made is removed again at the end if nothing is in it.
    The system releases the lock when this process ends, however it ends. Raises OnnxplainError if another process has
    the lock, or if the folder cannot be made or written. Without effect where the system or the file system has no such
    locks (Windows).
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, "folder", error) from error
    try:
        with _locked(folder / FOLDER_LOCK, folder, "folder"):
            yield
    finally:
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def is_folder_locked(folder: Path) -> bool | None:
    """Whether another process has the lock of `lock_folder`; None where the system or the file system has no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        descriptor = os.open(folder / FOLDER_LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


@contextmanager
def lock_output(path: Path) -> Iterator[None]:
    """Let no other process write the file `path` while the context lasts; its folder must exist, else `lock_folder`."""
    with _locked(path.with_name(f".{path.name}.lock"), path, "file"):
        yield


@contextmanager
def _locked(lock: Path, output: Path, noun: str) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:
        yield
        return
    while True:
        try:
            # A link at this name is refused, and nothing is written to the file.
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise _unwritable(output, noun, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise OnnxplainError(
                f"{output}: another onnxplain is writing there: wait for its end, or give another path with -o"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise _unwritable(output, noun, error) from error
        # The former owner may have removed the file between the two calls.
        if _is_at(descriptor, lock):
            break
        os.close(descriptor)
    try:
        yield
    finally:
        # Before it is released, so that nobody else's file is removed.
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        os.close(descriptor)


def _unwritable(output: Path, noun: str, error: OSError) -> OnnxplainError:
    return OnnxplainError(
        f"{output}: cannot be written ({error.strerror}), expected a {noun} that can be created and written to: give "
        f"another {noun} with -o"
    )


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))
