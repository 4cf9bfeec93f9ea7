"""The folder of an evaluation: its inputs, and a line per image, written at once so that a killed run can continue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.atomic import write_atomically

FORMAT = 1
RUN_FILE, IMAGES_FILE, TABLE_FILE, SUMMARY_FILE = "run.json", "images.jsonl", "images.csv", "summary.json"
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
    _file: IO[bytes] | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> Journal:
        run, images = self.folder / RUN_FILE, self.folder / IMAGES_FILE
        identity = json.loads(json.dumps({"format": FORMAT, **self.identity}))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if run.exists():
                _require_same(run, identity)
            elif taken := [name for name in (IMAGES_FILE, TABLE_FILE, SUMMARY_FILE) if (self.folder / name).exists()]:
                raise OnnxplainError(
                    f"{self.folder / taken[0]}: found results without {RUN_FILE}, expected both: {_ANOTHER}"
                )
            else:
                write_atomically(run, _pretty(identity))
            with ExitStack() as unless_kept:
                self._file = unless_kept.enter_context(images.open("ab"))
                _lock(self._file, images)
                self._file.truncate(self._count_whole_lines(images))
                unless_kept.pop_all()
        except OSError as error:
            raise OnnxplainError(
                f"{self.folder}: cannot be written ({error.strerror}): choose a writable folder"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, row: Row) -> None:
        """Write the results of the next record; they are kept even if this process is killed afterwards."""
        assert self._file is not None
        line = json.dumps({"index": self.done, **row}, ensure_ascii=False, allow_nan=False)
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise OnnxplainError(
                f"{self.folder / IMAGES_FILE}: cannot be written ({error.strerror}): check disk space"
            ) from error
        self.done += 1

    def rows(self) -> Iterator[Row]:
        """All results so far, in the order of the records, one at a time."""
        with (self.folder / IMAGES_FILE).open("rb") as lines:
            for line in lines:
                yield json.loads(line)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary of all images."""
        write_atomically(self.folder / SUMMARY_FILE, _pretty(summary))

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


def _require_same(run: Path, identity: Mapping[str, Any]) -> None:
    try:
        found = json.loads(run.read_bytes())
    except ValueError:
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


def _pretty(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _lock(file: IO[bytes], path: Path) -> None:
    """Lock the file against a second process while this one runs; do nothing if the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OnnxplainError(f"{path}: another evaluation is using it: wait for its end, or {_ANOTHER}") from None
