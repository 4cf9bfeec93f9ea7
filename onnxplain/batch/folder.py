"""The folder of a batch: the plan, the record, the parts that are there, and the mark of the end."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onnxplain.batch.job import PartDone
from onnxplain.batch.plan import PLAN_FILE, BatchPlan
from onnxplain.batch.schema import BATCH_SCHEMA, BATCH_VERSION, PartFooter, part_name, read_footer
from onnxplain.errors import OnnxplainError
from onnxplain.explanations.run_record import RECORD_FILE
from onnxplain.files.atomic import PART_SUFFIX, write_atomically
from onnxplain.files.json_bytes import json_bytes

SUCCESS_FILE = "_SUCCESS"
_PART = re.compile(r"part-(\d{5,})\.parquet")
# What two runs into one folder must have in common, and the words for it.
_IDENTITY = {
    "model": "model",
    "plan": "plan (images, part size, threads)",
    "questions": "methods, targets or options",
    "opened_with": "options of the model",
    "preprocessing": "preprocessing",
    "engine": "provider or precision",
    "max_megapixels": "--max-megapixels",
    "versions": "version of onnxplain, ONNX Runtime or pyarrow",
}


@dataclass(frozen=True)
class BatchCounts:
    """What the parts that are there hold."""

    parts: int = 0
    images: int = 0
    failed: int = 0


class BatchFolder:
    """The files of one batch. The caller holds the folder's lock while it writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, plan: BatchPlan, record: Mapping[str, Any]) -> str:
        """Write plan and record, or check that those in the folder are the same; returns the run's identity.

        Raises OnnxplainError for a folder of another run, of another version, or with parts and no record.
        """
        found = self.read_record()
        if found is None:
            if next(self._parts(), None) is not None:
                raise OnnxplainError(
                    f"{self.path}: found parts without {RECORD_FILE}, expected an empty folder or a whole batch: give "
                    "another folder with -o"
                )
            write_atomically(self.path / PLAN_FILE, plan.content)
            self._write_record({**record, "ended": None, "counts": None})
            return str(record["identity"])
        for key, words in _IDENTITY.items():
            if _comparable(key, found.get(key)) != _comparable(key, json.loads(json_bytes(record[key]))):
                raise OnnxplainError(
                    f"{self.path}: found a batch with another {words}, expected the same: give another folder with -o, "
                    f"or repeat its command ({RECORD_FILE}, key {key})"
                )
        for left in self.path.glob(f".onnxplain-*{PART_SUFFIX}"):
            left.unlink(missing_ok=True)
        return str(found["identity"])

    def read_record(self) -> dict[str, Any] | None:
        """``run.json``; None if there is none. Raises OnnxplainError for a file of another schema or version."""
        path = self.path / RECORD_FILE
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OnnxplainError(
                f"{path}: cannot be read ({error}), expected the record of `onnxplain batch`: give another folder with "
                "-o"
            ) from error
        about = (record.get("schema"), record.get("version")) if isinstance(record, dict) else (None, None)
        if about != (BATCH_SCHEMA, BATCH_VERSION):
            raise OnnxplainError(
                f"{path}: found schema {about[0]!r} version {about[1]!r}, expected {BATCH_SCHEMA!r} version "
                f"{BATCH_VERSION}: give another folder with -o"
            )
        return dict(record)

    def finished_parts(self, run: str, parts: int) -> dict[int, PartFooter]:
        """The parts that are there, by number. Raises OnnxplainError for one of another run."""
        finished = {}
        for number, path in self._parts():
            footer = read_footer(path)
            if footer.run != run or footer.part != number or number >= parts:
                raise OnnxplainError(
                    f"{path}: found part {footer.part} of another run, expected one of {run}: move the file away"
                )
            finished[number] = footer
        return finished

    def reopen(self) -> None:
        """Take the mark of the end away: parts are missing."""
        (self.path / SUCCESS_FILE).unlink(missing_ok=True)

    def finish(self, counts: BatchCounts) -> None:
        """Write the counts into the record, and the mark of the end last of all."""
        record = self.read_record()
        assert record is not None
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        self._write_record({**record, "ended": ended, "counts": vars(counts)})
        write_atomically(self.path / SUCCESS_FILE, b"")

    @property
    def is_finished(self) -> bool:
        """Whether the mark of the end is there."""
        return (self.path / SUCCESS_FILE).exists()

    def part_times(self) -> dict[int, float]:
        """When each part was written, seconds since 1970."""
        times = {}
        for number, path in self._parts():
            with suppress(FileNotFoundError):
                times[number] = path.stat().st_mtime
        return times

    def footer(self, part: int) -> PartFooter:
        """The footer of a part that is there. Raises OnnxplainError."""
        return read_footer(self.path / part_name(part))

    def check_part(self, done: PartDone) -> None:
        """Raise OnnxplainError unless a part that a worker wrote is there: another machine may see another folder."""
        path = self.path / part_name(done.part)
        if not path.is_file():
            raise OnnxplainError(
                f"{path}: found no file, though a worker wrote the part, expected one folder for all machines: use a "
                "shared folder with -o"
            )

    def _parts(self) -> Any:
        for path in self.path.iterdir() if self.path.is_dir() else ():
            found = _PART.fullmatch(path.name)
            if found is not None:
                yield int(found.group(1)), path

    def _write_record(self, record: Mapping[str, Any]) -> None:
        write_atomically(self.path / RECORD_FILE, json_bytes(record, indent=2))


def identity_of(record: Mapping[str, Any]) -> str:
    """A hash of everything that the bytes of a part depend on: equal for runs that write equal parts."""
    compared = {key: _comparable(key, record[key]) for key in _IDENTITY}
    return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()


def _comparable(key: str, value: Any) -> Any:
    """What of a record's entry a result can depend on: not where the model's file lies, nor Python's version."""
    if not isinstance(value, dict):
        return value
    if key == "model":
        return {**value, "file": None, "weights": [each["sha256"] for each in value["weights"]]}
    if key == "versions":
        return {name: value.get(name) for name in ("onnxplain", "onnxruntime", "pyarrow")}
    return value
