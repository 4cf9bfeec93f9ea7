"""The table in each part: its columns, its version, and how it is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from onnxplain.batch.stores.output import OutputPlace
from onnxplain.errors import OnnxplainError
from onnxplain.files.json_bytes import JSON_ERRORS

BATCH_SCHEMA, BATCH_VERSION = "onnxplain-batch", 1
_KEY = b"onnxplain"
FAILED = "failed"
"""The status of a row whose image could not be explained."""

_SCORED = pa.struct([("index", pa.int32()), ("label", pa.string()), ("score", pa.float32())])
_ANSWER = pa.struct(
    [
        ("head", pa.string()),
        ("kind", pa.string()),
        ("entries", pa.list_(_SCORED)),
        ("unit", pa.string()),
        ("xyxy", pa.list_(pa.float32())),
        ("vector", pa.list_(pa.float32())),
    ]
)
_FRAME = pa.struct(
    [
        ("input_height", pa.int32()),
        ("input_width", pa.int32()),
        ("scale_x", pa.float64()),
        ("scale_y", pa.float64()),
        ("offset_x", pa.float64()),
        ("offset_y", pa.float64()),
    ]
)
_MAP_FRAME = pa.struct(
    [(f"{name}_{axis}", pa.float64()) for name in ("scale", "offset", "seen_start", "seen_stop") for axis in ("y", "x")]
)
_BOX = pa.struct(
    [
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("score", pa.float32()),
        ("area", pa.int32()),
    ]
)
COLUMNS: Mapping[str, pa.DataType] = {
    "image": pa.string(),
    "image_sha256": pa.string(),
    "height": pa.int32(),
    "width": pa.int32(),
    "answers": pa.list_(_ANSWER),
    "method": pa.string(),
    "layer": pa.string(),
    "target": pa.int32(),
    "target_name": pa.string(),
    "label": pa.string(),
    "score": pa.float32(),
    "status": pa.string(),
    "error": pa.string(),
    "relative_error": pa.float32(),
    "evaluations": pa.int32(),
    "seed": pa.int64(),
    "heat": pa.list_(pa.float16()),
    "heat_height": pa.int32(),
    "heat_width": pa.int32(),
    "heat_peak": pa.float32(),
    "frame": _FRAME,
    "map_frame": _MAP_FRAME,
    "boxes": pa.list_(_BOX),
    "level": pa.float32(),
}
"""Name → type of each column. docs/batch.md says what they hold."""


@dataclass(frozen=True)
class PartFooter:
    """What a part says of itself: whose run it belongs to, its number, and how many images it holds and lost."""

    run: str
    part: int
    images: int
    failed: int


def part_name(part: int) -> str:
    """The name of a part's file."""
    return f"part-{part:05d}.parquet"


def write_part(place: OutputPlace, footer: PartFooter, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as the file of a part, completely or not at all. Equal rows give equal bytes.

    A row may leave out columns, which are then null. Raises OnnxplainError if the file cannot be written.
    """
    about = json.dumps({"schema": BATCH_SCHEMA, "version": BATCH_VERSION, **asdict(footer)}, sort_keys=True)
    schema = pa.schema(list(COLUMNS.items()), metadata={_KEY: about.encode()})
    columns = [pa.array([_storable(row.get(name)) for row in rows], kind) for name, kind in COLUMNS.items()]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd")
    place.write(part_name(footer.part), memoryview(sink.getvalue()))


def read_footer(place: OutputPlace, part: int) -> PartFooter:
    """What a part says of itself. Raises OnnxplainError for a file that is no part of this version."""
    path = f"{place.title}/{part_name(part)}"
    try:
        about = json.loads((place.look(part_name(part), _metadata) or {})[_KEY])
        found = (about.pop("schema"), about.pop("version"))
        footer = PartFooter(**about)
    except (ValueError, KeyError, TypeError) as error:
        raise OnnxplainError(
            f"{path}: found no part of a batch, expected a file that `onnxplain batch` wrote: move it away"
        ) from error
    if found != (BATCH_SCHEMA, BATCH_VERSION):
        raise OnnxplainError(
            f"{path}: found schema {found[0]!r} version {found[1]!r}, expected {BATCH_SCHEMA!r} version "
            f"{BATCH_VERSION}: give another folder with -o"
        )
    return footer


def read_failures(place: OutputPlace, part: int) -> list[tuple[str, str]]:
    """Name and error of each image of a part that failed, in the order of the plan."""

    def find(stream: BinaryIO) -> list[dict[str, Any]]:
        return list(pq.read_table(stream, columns=["image", "status", "error"]).to_pylist())

    rows = place.look(part_name(part), find) or []
    return [(str(row["image"]), str(row["error"])) for row in rows if row["status"] == FAILED]


def _metadata(stream: BinaryIO) -> Mapping[bytes, bytes]:
    """Those of a Parquet file; none of another file."""
    try:
        return dict(pq.read_metadata(stream).metadata or {})
    except pa.ArrowInvalid:
        return {}


def _storable(value: Any) -> Any:
    """Text without surrogates, which no UTF-8 file can hold; everything else as it is."""
    return value.encode(errors=JSON_ERRORS).decode() if isinstance(value, str) else value
