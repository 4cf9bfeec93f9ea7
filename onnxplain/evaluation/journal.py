"""The folder of an evaluation: its inputs, and a line per image, written at once so that a killed run can continue."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.files.atomic import write_atomically
from onnxplain.files.json_bytes import json_bytes
from onnxplain.files.line_file import LineFile
from onnxplain.files.lock import lock_folder
from onnxplain.files.shown_paths import relative_to
from onnxplain.files.special import refuse_special

FORMAT = 2
RUN_FILE, IMAGES_FILE, TABLE_FILE, SUMMARY_FILE = "run.json", "images.jsonl", "images.csv", "summary.json"
_RESULTS = (IMAGES_FILE, TABLE_FILE, SUMMARY_FILE)
_ANOTHER = "choose another folder with -o, or delete this one"

Row = dict[str, Any]


@dataclass(eq=False)
class Journal:
    """The results folder of one evaluation, open for more images; use it in a `with` statement.

    `identity`: everything that the results depend on, plain values by name; it is written to run.json. A folder of
    another evaluation is refused. ``images.jsonl`` has one line per record, in their order; each is written and flushed
    when the record is measured. An incomplete last line is dropped. Raises OnnxplainError for a folder that cannot be
    written or is in use, one with result files but no run.json, and lines in the wrong order.
    """

    folder: Path
    identity: Mapping[str, Any]
    done: int = field(default=0, init=False)
    found: int = field(default=0, init=False)
    _file: LineFile | None = field(default=None, init=False, repr=False)
    _opened: ExitStack | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> Journal:
        run, images = self.folder / RUN_FILE, self.folder / IMAGES_FILE
        identity = json.loads(json.dumps({"format": FORMAT, **self.identity}))
        try:
            with ExitStack() as opened:
                opened.enter_context(lock_folder(self.folder))
                if run.exists():
                    _require_same(run, identity)
                elif taken := [name for name in _RESULTS if (self.folder / name).exists()]:
                    raise OnnxplainError(
                        f"{self.folder / taken[0]}: found results without {RUN_FILE}, expected both: {_ANOTHER}"
                    )
                else:
                    write_atomically(run, json_bytes(identity, indent=2))
                self._file = LineFile(_open_to_grow(images))
                opened.callback(self._file.close)
                self._file.cut(self._count_whole_lines(images))
                self.found = self.done
                self._opened = opened.pop_all()
        except OSError as error:
            raise OnnxplainError(
                f"{self.folder}: cannot be written ({error.strerror}): choose a writable folder"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is None:
            return
        with self._opened:
            if kind is not None and issubclass(kind, Exception) and not self.done:
                # A run that failed before its first result leaves nothing.
                for name in (IMAGES_FILE, RUN_FILE):
                    with suppress(OSError):
                        (self.folder / name).unlink()

    def add(self, row: Row) -> None:
        """Write the results of the next record; they are kept even if this process is killed afterwards."""
        assert self._file is not None
        try:
            self._file.add(json_bytes({"index": self.done, **_with_path(row, self._from_here)}))
        except OSError as error:
            raise OnnxplainError(
                f"{self.folder / IMAGES_FILE}: cannot be written ({error.strerror}): check disk space"
            ) from error
        self.done += 1

    def _from_here(self, path: Path) -> str:
        return relative_to(path, self.folder) if path.is_absolute() or path.exists() else str(path)

    def rows(self) -> Iterator[Row]:
        """All results so far, in the order of the records, one at a time."""
        return read_rows(self.folder)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary of all images."""
        write_atomically(self.folder / SUMMARY_FILE, json_bytes(summary, indent=2))

    def _count_whole_lines(self, images: Path) -> int:
        """Number of bytes in complete lines. Raises OnnxplainError if a line is not of the record that it should be."""
        whole = 0
        with images.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                try:
                    index = json.loads(line)["index"]
                except (ValueError, KeyError, TypeError):
                    index = None
                if index != self.done:
                    raise OnnxplainError(
                        f"{images}:{self.done + 1}: found no results of image {self.done} in this line: {_ANOTHER}"
                    )
                whole += len(line)
                self.done += 1
        return whole


def read_rows(folder: Path) -> Iterator[Row]:
    """The results in a folder, in the order of the records, one at a time. Raises OnnxplainError for a damaged file."""
    images = folder / IMAGES_FILE
    try:
        with images.open("rb") as lines:
            for line in lines:
                yield _with_path(json.loads(line), lambda path: _found_from(folder, path))
    except (OSError, ValueError) as error:
        raise OnnxplainError(
            f"{images}: the results written before cannot be read ({error}), expected them unchanged: run the "
            "evaluation again"
        ) from error


def _with_path(row: Row, change: Callable[[Path], str]) -> Row:
    """The row; of an image that was left out, with another spelling of its path. Files hold it from their folder."""
    if "problem" not in row:
        return row
    problem = row["problem"]
    return {**row, "problem": {**problem, "path": change(Path(problem["path"]))}}


def _found_from(folder: Path, path: Path) -> str:
    """The file that a row names; of an image without a file, its name."""
    found = Path(os.path.normpath(folder / path))
    return str(found if path.parts[:1] == ("..",) or found.exists() else path)


def _require_same(run: Path, identity: Mapping[str, Any]) -> None:
    try:
        refuse_special(run)
        found = json.loads(run.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise OnnxplainError(f"{run}: found no description of an evaluation, expected one: {_ANOTHER}")
    for name in dict.fromkeys((*identity, *found)):
        if found.get(name) != identity.get(name):
            was, now = (_short(tree.get(name)) for tree in (found, identity))
            raise OnnxplainError(f"{run.parent}: found results with {name} {was}, expected {now}: {_ANOTHER}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"


def _open_to_grow(path: Path) -> io.FileIO:
    """The file for lines at its end, unbuffered; made if it is missing. A link is refused, not followed: OSError."""
    flags = (
        os.O_WRONLY
        | os.O_CREAT
        | os.O_APPEND
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_BINARY", 0)
    )
    return io.FileIO(os.open(path, flags, 0o666), "ab")
