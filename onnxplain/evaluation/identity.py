"""The identity of an evaluation: hashes of model and data set contents, not their paths."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from onnxplain.data.dataset import DataSet
from onnxplain.data.digits.scenes import DigitScenes
from onnxplain.data.mosaic import Mosaics
from onnxplain.data.record import Record
from onnxplain.data.subset import Subset
from onnxplain.evaluation.image_ids import ImageIds, drawn_when_asked
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.protobuf.model_facts import hash_files, model_files


def identify_model(engine: Engine) -> dict[str, Any]:
    """Hashes of the model's files and of its metadata (input, labels), with providers and precision."""
    return {
        "sha256": hash_files(model_files(engine.path)),
        "metadata": hashlib.sha256(engine.spec.to_json().encode()).hexdigest(),
        "providers": list(engine.providers),
        "precision": engine.precision,
    }


def identify_dataset(dataset: DataSet) -> dict[str, Any]:
    """Hash of the records: ids, labels, boxes and file sizes; for generated records, of their parameters."""
    described = json.dumps(_describe(dataset.records), sort_keys=True).encode()
    return {"name": dataset.name, "records": len(dataset.records), "sha256": hashlib.sha256(described).hexdigest()}


def _describe(records: Sequence[Record]) -> Any:
    if isinstance(records, Mosaics):
        return ["mosaics", _describe(records.dataset.records), records.length, records.seed, records.size_hw]
    if isinstance(records, DigitScenes):
        return ["digits", records.split, records.length, records.seed, records.size_hw, records.start]
    if isinstance(records, Subset) and drawn_when_asked(records):
        return ["some", [int(index) for index in records.indices], _describe(records.base)]
    ids = ImageIds(records)
    return [
        [ids.of(record), record.label, record.boxes_xyxy.tolist(), _content(record.image), *_further(record)]
        for record in records
    ]


def _further(record: Record) -> list[Any]:
    """Numbers and mask of an image; nothing without any, so that the hash of other data sets stays the same."""
    mask = record.mask
    return [
        *([dict(record.numbers)] if record.numbers else []),
        *([] if mask is None else ["mask", mask.index, _content(mask.label_map)]),
    ]


def _content(pixels: Path | npt.NDArray[Any]) -> Any:
    if isinstance(pixels, Path):
        # The size stands for the content: reading every file can cost more than the evaluation.
        return pixels.stat().st_size if pixels.is_file() else None
    return hashlib.sha256(pixels.tobytes()).hexdigest()
