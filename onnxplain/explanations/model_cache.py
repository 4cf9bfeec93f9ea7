"""The user's cache folder: explainable copies of plain files, each under the hash of everything that it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxplain.contract import CONTRACT_VERSION, TAIL_SUFFIX
from onnxplain.errors import OnnxplainError
from onnxplain.files.json_bytes import json_bytes
from onnxplain.version import __version__

FOLDER_VARIABLE, LIMIT_VARIABLE = "ONNXPLAIN_CACHE", "ONNXPLAIN_CACHE_GB"
DEFAULT_LIMIT_GB = 2.0
MODEL_FILE = "model.onnx"
_GB = 10**9
_ENTRY_FILE = "entry.json"
_MODEL_FILES = (MODEL_FILE, f"model{TAIL_SUFFIX}")
_ENTRY_NAME = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"\.onnxplain-.+\.part")
# A folder that is still unfinished after a day belongs to a process that was killed.
_UNFINISHED_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class CacheEntry:
    """One explainable copy: its folder, the name of the original file, its bytes, and when it was last used (epoch)."""

    folder: Path
    source: str
    size: int
    used: float


@dataclass(frozen=True)
class ModelCache:
    """A folder with one subfolder per copy. `limit`: most bytes; the copies that were not used longest go first.

    A copy appears completely or not at all, so several processes may use the folder. Each file's SHA-256 is stored
    beside it and checked whenever it is used.
    """

    folder: Path
    limit: int = int(DEFAULT_LIMIT_GB * _GB)

    @classmethod
    def of_user(cls) -> ModelCache:
        """The cache that the environment variables ONNXPLAIN_CACHE and ONNXPLAIN_CACHE_GB describe.

        Raises OnnxplainError if the limit is not a number.
        """
        text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GB)
        try:
            limit = int(float(text) * _GB)
        except (ValueError, OverflowError):
            limit = -1
        if limit < 0:
            raise OnnxplainError(f"{LIMIT_VARIABLE}: found {text!r}, expected a size in GB such as 2: correct it")
        return cls(_user_folder(), limit)

    def find(self, key: str) -> Path | None:
        """The model file of a copy; None if there is none. A copy that was changed or truncated is removed."""
        entry = self.folder / key
        if not entry.is_dir():
            return None
        if not _is_whole(entry):
            _remove_entry(entry)
            return None
        _touch(entry / _ENTRY_FILE)
        return entry / MODEL_FILE

    def problems(self, key: str) -> list[dict[str, str]]:
        """What was said when the copy was made, as plain data."""
        try:
            said = json.loads((self.folder / key / _ENTRY_FILE).read_text(encoding="utf-8"))["problems"]
            return [{str(name): str(text) for name, text in each.items()} for each in said]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []

    def new_folder(self) -> Path:
        """An empty folder to write a copy into, under the name MODEL_FILE. Raises OSError if there can be none."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self.folder, prefix=".onnxplain-", suffix=".part"))

    def keep(self, key: str, written: Path, source: str, problems: Sequence[Mapping[str, str]] = ()) -> Path | None:
        """Make the files in a folder from `new_folder` the copy `key`, then remove copies over the limit.

        `source`: the original's name. `problems`: what `problems` returns. Returns the copy's model file. None: it is
        larger than the limit, so the folder stays as it is. If another process was faster, its copy is used and the
        folder is removed. Raises OSError if the copy cannot be written.
        """
        files = [written / name for name in _MODEL_FILES if (written / name).exists()]
        if sum(file.stat().st_size for file in files) > self.limit:
            return None
        record = {"source": source, "problems": list(problems), "sha256": {file.name: _hash(file) for file in files}}
        (written / _ENTRY_FILE).write_bytes(json_bytes(record, indent=1))
        entry = self.folder / key
        try:
            written.rename(entry)
        except OSError:
            found = self.find(key)
            if found is None:
                written.rename(entry)
            else:
                shutil.rmtree(written, ignore_errors=True)
        self._trim(keeping=entry)
        return entry / MODEL_FILE

    def entries(self) -> tuple[CacheEntry, ...]:
        """All copies, the one used last first."""
        found = [_describe(folder) for folder in _subfolders(self.folder) if _ENTRY_NAME.fullmatch(folder.name)]
        return tuple(sorted((entry for entry in found if entry is not None), key=lambda entry: -entry.used))

    def empty(self) -> tuple[CacheEntry, ...]:
        """Remove all copies and unfinished folders, and nothing else; returns the copies that were removed."""
        before = self.entries()
        for entry in before:
            _remove_entry(entry.folder)
        self._remove_unfinished(older_than=0)
        left = {entry.folder for entry in self.entries()}
        return tuple(entry for entry in before if entry.folder not in left)

    def _trim(self, keeping: Path) -> None:
        self._remove_unfinished(older_than=_UNFINISHED_SECONDS)
        # The copy in use comes first, whatever the clock says.
        total = 0
        for entry in sorted(self.entries(), key=lambda entry: entry.folder != keeping):
            total += entry.size
            if total > self.limit:
                _remove_entry(entry.folder)

    def _remove_unfinished(self, older_than: float) -> None:
        for folder in _subfolders(self.folder):
            if _UNFINISHED.fullmatch(folder.name) and time.time() - _modified(folder) >= older_than:
                shutil.rmtree(folder, ignore_errors=True)


def cache_key(content: str, options: Mapping[str, Any]) -> str:
    """The name of a copy: a hash of the original's content, the options, and the version of onnxplain."""
    described = {"content": content, "options": options, "onnxplain": __version__, "contract": CONTRACT_VERSION}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _user_folder() -> Path:
    """$ONNXPLAIN_CACHE, else onnxplain in the platform's folder for caches."""
    stated = os.environ.get(FOLDER_VARIABLE)
    # The specification of XDG says that relative paths are ignored.
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if stated:
        folder = Path(stated)
    elif Path(shared).is_absolute():
        folder = Path(shared) / "onnxplain"
    elif sys.platform == "darwin":
        folder = Path("~/Library/Caches/onnxplain")
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local") / "onnxplain" / "Cache"
    else:
        folder = Path("~/.cache/onnxplain")
    try:
        return folder.expanduser()
    except RuntimeError:
        # There is no home folder. No folder can be made here, which is reported as for any other such folder.
        return Path(os.devnull) / "onnxplain"


def _is_whole(entry: Path) -> bool:
    """Whether the files have the hashes that are stored beside them."""
    try:
        digests = json.loads((entry / _ENTRY_FILE).read_text(encoding="utf-8"))["sha256"]
        return MODEL_FILE in digests and all(
            name in _MODEL_FILES and _hash(entry / name) == digest for name, digest in digests.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _describe(folder: Path) -> CacheEntry | None:
    """The entry; None if another process removes it now."""
    record = folder / _ENTRY_FILE
    try:
        size = sum(file.stat().st_size for file in folder.iterdir())
        used = record.stat().st_mtime if record.exists() else 0.0
    except OSError:
        return None
    try:
        source = str(json.loads(record.read_text(encoding="utf-8"))["source"])
    except (OSError, ValueError, KeyError, TypeError):
        source = ""
    return CacheEntry(folder, source, size, used)


def _remove_entry(folder: Path) -> None:
    """Remove the files that the cache made, the record first: without it the copy is not used. Others stay."""
    try:
        for name in (_ENTRY_FILE, *_MODEL_FILES):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        # Another process may be reading it, or the folder may not be written. A later call tries again.
        return


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _touch(record: Path) -> None:
    """Note that the copy was used. In a folder that cannot be written, it is used all the same."""
    try:
        os.utime(record)
    except OSError:
        return
