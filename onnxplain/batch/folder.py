"""The folder of a batch: the plan, the record, the parts that are there, and the mark of the end."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from onnxplain.batch.job import PartDone
from onnxplain.batch.plan import PLAN_FILE, BatchPlan
from onnxplain.batch.schema import BATCH_SCHEMA, BATCH_VERSION, PartFooter, part_name, read_footer
from onnxplain.batch.stores.output import OutputPlace
from onnxplain.batch.stores.store_output import LEFTOVER
from onnxplain.errors import OnnxplainError
from onnxplain.explanations.run_record import RECORD_FILE
from onnxplain.files.atomic import PART_SUFFIX
from onnxplain.files.json_bytes import json_bytes

SUCCESS_FILE = "_SUCCESS"
_FOOTERS_AT_ONCE = 16
_PART = re.compile(r"part-(\d{5,})\.parquet")
# What two runs into one folder must have in common, and the words for it.
# Methods stand first: other methods can need another copy of the same model.
_IDENTITY = {
    "questions": "methods, targets or options",
    "model": "model",
    "plan": "plan (images, part size, threads)",
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

    def __init__(self, place: OutputPlace) -> None:
        self.place = place

    def begin(self, plan: BatchPlan, record: Mapping[str, Any]) -> str:
        """Write plan and record, or check that those in the folder are the same; returns the run's identity.

        Raises OnnxplainError for a folder of another run, of another version, or with parts and no record.
        """
        found = self.read_record()
        if found is None:
            if self._parts():
                raise OnnxplainError(
                    f"{self.place.title}: found parts without {RECORD_FILE}, expected an empty folder or a whole "
                    "batch: give another folder with -o"
                )
            self.place.write(PLAN_FILE, plan.content)
            self._write_record({**record, "ended": None, "counts": None})
            return str(record["identity"])
        for key, words in _IDENTITY.items():
            if _comparable(key, found.get(key)) != _comparable(key, json.loads(json_bytes(record[key]))):
                raise OnnxplainError(
                    f"{self.place.title}: found a batch with another {words}, expected the same: give another folder "
                    f"with -o, or repeat its command ({RECORD_FILE}, key {key})"
                )
        for name in self.place.times():
            if name.startswith(LEFTOVER) and name.endswith(PART_SUFFIX):
                self.place.remove(name)
        return str(found["identity"])

    def read_record(self) -> dict[str, Any] | None:
        """``run.json``; None if there is none. Raises OnnxplainError for a file of another schema or version."""
        content, path = self.place.read(RECORD_FILE), f"{self.place.title}/{RECORD_FILE}"
        if content is None:
            return None
        try:
            record = json.loads(content)
        except ValueError as error:
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
        # A store answers many requests at once.
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            footers = dict(zip(found := sorted(self._parts()), pool.map(self.footer, found), strict=True))
        for number, footer in footers.items():
            if footer.run != run or footer.part != number or number >= parts:
                raise OnnxplainError(
                    f"{self.place.title}/{part_name(number)}: found part {footer.part} of another run, expected one of "
                    f"{run}: move the file away"
                )
            finished[number] = footer
        return finished

    def reopen(self) -> None:
        """Take the mark of the end away: parts are missing."""
        self.place.remove(SUCCESS_FILE)

    def finish(self, run: str, counts: BatchCounts) -> None:
        """Write the counts into the record, and the mark of the end last of all.

        Raises OnnxplainError if the record has become that of another run.
        """
        record = self.read_record()
        if record is None or record.get("identity") != run:
            raise OnnxplainError(
                f"{self.place.title}/{RECORD_FILE}: found the record of another batch, expected that of this one: two "
                "runs write there; give one of them another place with -o"
            )
        ended = datetime.now(UTC).isoformat(timespec="seconds")
        self._write_record({**record, "ended": ended, "counts": vars(counts)})
        self.place.write(SUCCESS_FILE, b"")

    @property
    def is_finished(self) -> bool:
        """Whether the mark of the end is there."""
        return self.place.read(SUCCESS_FILE) is not None

    def part_times(self) -> dict[int, float]:
        """When each part was written, seconds since 1970."""
        return self._parts()

    def footer(self, part: int) -> PartFooter:
        """The footer of a part that is there. Raises OnnxplainError."""
        return read_footer(self.place, part)

    def check_part(self, done: PartDone) -> None:
        """Raise OnnxplainError unless a part that a worker wrote is there: another machine may see another folder."""
        if self.place.look(part_name(done.part), lambda stream: True) is None:
            raise OnnxplainError(
                f"{self.place.title}/{part_name(done.part)}: found no file, though a worker wrote the part, expected "
                "one folder for all machines: use a shared folder, or a URI, with -o"
            )

    def _parts(self) -> dict[int, float]:
        found = {_PART.fullmatch(name): time for name, time in self.place.times().items()}
        return {int(match.group(1)): time for match, time in found.items() if match is not None}

    def _write_record(self, record: Mapping[str, Any]) -> None:
        self.place.write(RECORD_FILE, json_bytes(record, indent=2))


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
