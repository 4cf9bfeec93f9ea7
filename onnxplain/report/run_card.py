"""The card of a run: which file, preprocessing, versions and options gave the maps, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.explanations.verify_folder import RunToVerify


def run_card(run: RunToVerify) -> list[tuple[str, str]]:
    """(name, value) per row. Raises OnnxplainError for a record without one of the documented keys."""
    record = run.record
    try:
        return [row for row in _rows(record) if row[1]]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise OnnxplainError(
            f"{run.folder / 'run.json'}: found a record that was changed ({type(error).__name__}: {error}), expected "
            "the keys of docs/provenance.md: explain the images again"
        ) from error


def model_name(run: RunToVerify) -> str:
    """The name of the model's file, without its folder."""
    return PurePosixPath(str(run.record["model"]["file"])).name


def _rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, engine, counts = record["model"], record["engine"], record["counts"]
    copy = model["instrumented"]
    source = record["preprocessing"]
    height, width = source["size_hw"]
    return [
        ("model", PurePosixPath(model["file"]).name),
        ("SHA-256", model["sha256"]),
        ("weights", ", ".join(PurePosixPath(each["file"]).name for each in model["weights"])),
        ("instrumented", "" if copy is None else f"on the way, layers {', '.join(copy['layers'])}"),
        ("input", f"{width} × {height} pixels, {source['layout']}"),
        ("preprocessing", _preprocessing(source)),
        ("assumed", ", ".join(record["assumed"])),
        ("methods", ", ".join(dict.fromkeys(question["method"] for question in record["questions"]))),
        ("options", _options(record)),
        ("seeds", _seeds(record)),
        ("runs on", f"{', '.join(engine['providers'])}, {engine['precision']}, threads {engine['threads'] or 'auto'}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)),
        ("command", " ".join(["onnxplain", *map(str, record["command"])])),
        ("started", str(record["started"])),
        ("ended", "not ended" if record["ended"] is None else str(record["ended"])),
        ("counts", f"images {counts['images']}, maps {counts['explanations']}, errors {counts['errors']}"
         + (", interrupted" if counts["interrupted"] else "")),
        ("run", str(record["id"])),
    ]  # fmt: skip


def _preprocessing(source: Mapping[str, Any]) -> str:
    """Every part with its value, and where it comes from unless it was stated."""
    described = []
    for name, origin in source["origins"].items():
        value = source[name]
        if value is None:
            continue
        text = ", ".join(f"{number:.6g}" for number in value) if isinstance(value, list) else _short(value)
        kind = origin["kind"] if origin["source"] is None else f"{origin['kind']} from {origin['source']}"
        described.append(f"{name} {text}" + ("" if kind == "stated" else f" ({kind})"))
    return "; ".join(described)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _options(record: Mapping[str, Any]) -> str:
    given = dict.fromkeys(
        f"{question['method']}: {name} {value}"
        for question in record["questions"]
        for name, value in question["options"].items()
        if name != "seed" and value is not None
    )
    return "; ".join(given)


def _seeds(record: Mapping[str, Any]) -> str:
    seeds = dict.fromkeys(
        f"{question['method']}: {question['options']['seed']}"
        for question in record["questions"]
        if question["options"].get("seed") is not None
    )
    return ", ".join(seeds)
