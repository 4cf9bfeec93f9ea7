"""Which image belongs to which part, and what the bytes of a part depend on beside its images."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from onnxplain.batch.stores.output import OutputPlace
from onnxplain.errors import OnnxplainError
from onnxplain.files.json_bytes import json_bytes

PLAN_FILE = "plan.jsonl"
PLAN_SCHEMA, PLAN_VERSION = "onnxplain-batch-plan", 1
DEFAULT_PART_SIZE = 256
AT_ONCE = 8
"""Images, or masked copies, in one run of the model."""

MaskedCopies = Literal["host", "device"]


@dataclass(frozen=True)
class BatchPlan:
    """Images in their order, in parts of `part_size`; the last part may be smaller.

    `threads`: of one engine. `at_once`: images or masked copies per run of the model. `masked_copies`: where they are
    made. The last bits of a result can depend on these three, so no process chooses them for itself.
    """

    images: tuple[str, ...]
    part_size: int
    threads: int
    masked_copies: MaskedCopies
    at_once: int = AT_ONCE

    @property
    def parts(self) -> int:
        """The number of parts."""
        return -(-len(self.images) // self.part_size)

    def images_of(self, part: int) -> tuple[str, ...]:
        """The images of a part."""
        return self.images[part * self.part_size : (part + 1) * self.part_size]

    @property
    def header(self) -> dict[str, Any]:
        """The first line of the plan's file."""
        return {
            "schema": PLAN_SCHEMA,
            "version": PLAN_VERSION,
            "images": len(self.images),
            "part_size": self.part_size,
            "threads": self.threads,
            "at_once": self.at_once,
            "masked_copies": self.masked_copies,
        }

    @cached_property
    def content(self) -> bytes:
        """The plan's file: the header, then one image per line as a JSON string."""
        stream = io.BytesIO()
        stream.write(json_bytes(self.header))
        # Not a list of lines, which takes as much memory as the names.
        stream.writelines(map(json_bytes, self.images))
        return stream.getvalue()

    @cached_property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()


def read_header(place: OutputPlace) -> dict[str, Any] | None:
    """The header of the plan in a folder; None if there is no plan. Raises OnnxplainError for one that is no plan."""
    path = f"{place.title}/{PLAN_FILE}"
    line = place.look(PLAN_FILE, lambda stream: stream.readline())
    if line is None:
        return None
    try:
        header = json.loads(line)
    except ValueError as error:
        raise OnnxplainError(
            f"{path}: cannot be read ({error}), expected a plan of `onnxplain batch`: give another folder with -o"
        ) from error
    if not isinstance(header, dict) or (header.get("schema"), header.get("version")) != (PLAN_SCHEMA, PLAN_VERSION):
        raise OnnxplainError(
            f"{path}: found no plan of this version, expected {PLAN_SCHEMA} version {PLAN_VERSION}: give another "
            "folder with -o"
        )
    return header
