"""The record of one run of `explain`: what has to be known to repeat it. It is written as ``run.json``.

The keys are documented, with their version, in docs/provenance.md.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from onnxplain.errors import OnnxplainError
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.files.shown_paths import relative_to, without_folders

if TYPE_CHECKING:
    from onnxplain.explanations.explanation_folder import PictureStyle
    from onnxplain.explanations.open_model import OpenedModel
    from onnxplain.explanations.questions import Question
    from onnxplain.runtime.heads.aim import Aim

RECORD_FILE = "run.json"
RUN_SCHEMA = "onnxplain-run"
RUN_VERSION = 1


@dataclass(frozen=True)
class RunCounts:
    """What a run did: images read, explanations written, images that could not be read."""

    images: int = 0
    explanations: int = 0
    errors: int = 0
    interrupted: bool = False


@dataclass(frozen=True)
class RunRecord:
    """A run. `entries`: the keys that do not change while it goes on, as plain data."""

    entries: Mapping[str, Any]
    counts: RunCounts = RunCounts()
    ended: str | None = None

    @property
    def id(self) -> str:
        """The name of the run, which every line of explanations.jsonl repeats."""
        return str(self.entries["id"])

    @property
    def assumed_parts(self) -> tuple[str, ...]:
        """The parts of the preprocessing that are assumed."""
        return tuple(self.entries["assumed"])

    def options_of(self, method: str) -> Mapping[str, Any]:
        """The options that the method was given, as plain data."""
        asked: Sequence[Mapping[str, Any]] = self.entries["questions"]
        return next((dict(question["options"]) for question in asked if question["method"] == method), {})

    def finished(self, counts: RunCounts) -> RunRecord:
        """The record at the end of the run."""
        return replace(self, counts=counts, ended=_now())

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``run.json``."""
        return {**self.entries, "ended": self.ended, "counts": asdict(self.counts)}


def record_run(
    opened: OpenedModel,
    options: OpenOptions,
    questions: Sequence[Question],
    style: PictureStyle,
    folder: Path,
    max_megapixels: float | None = None,
    detecting: Mapping[str, Any] | None = None,
) -> RunRecord:
    """The record of a run that is about to begin. Paths in it are relative to `folder`.

    `detecting`: what decides which candidates of a detector are detections; None for other models.
    """
    from onnxplain.machine.installed import find_versions, read_processor
    from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS

    engine = opened.engine
    preprocessing = json.loads(engine.spec.to_json())["input"]
    return RunRecord(
        {
            "schema": RUN_SCHEMA,
            "version": RUN_VERSION,
            "id": uuid.uuid4().hex,
            "started": _now(),
            "command": [without_folders(str(argument), folder) for argument in sys.argv[1:]],
            "model": _describe_model(opened, folder),
            "opened_with": _describe_options(options),
            "preprocessing": preprocessing,
            "assumed": list(engine.spec.input.origins.assumed),
            "engine": {
                "providers": list(engine.providers),
                "precision": engine.precision,
                "threads": options.threads,
                "fixed_batch": engine.fixed_batch,
                "masked_copies": "made in the type of the model's input; where, the type and the method decide",
            },
            "detection": None if detecting is None else dict(detecting),
            "questions": [_describe_question(question, folder) for question in questions],
            "pictures": asdict(style),
            "max_megapixels": DEFAULT_MAX_MEGAPIXELS if max_megapixels is None else max_megapixels,
            "processor": read_processor().as_json(),
            "versions": find_versions(),
        }
    )


def hash_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OnnxplainError if it cannot be read."""
    from onnxplain.runtime.protobuf.model_facts import hash_files

    try:
        return hash_files([path])
    except OSError as error:
        raise OnnxplainError(f"{path}: cannot be read ({error.strerror}), expected the file: put it back") from error


def _describe_model(opened: OpenedModel, folder: Path) -> dict[str, Any]:
    """The file that the user named, and the explainable copy if it was instrumented on the way."""
    from onnxplain.runtime.protobuf.model_facts import model_files

    engine = opened.engine
    first, *rest = model_files(engine.source)
    copy = None
    if opened.copy is None and engine.spec.tail is not None:
        tail = first.with_name(engine.spec.tail.file)
        rest += [tail] if tail.is_file() else []
    if opened.copy is not None:
        copy = {"sha256": hash_of(engine.path), "layers": [layer.name for layer in engine.spec.layers]}
    return {
        "file": relative_to(first, folder),
        "sha256": hash_of(first),
        "weights": [{"file": relative_to(path, folder), "sha256": hash_of(path)} for path in rest],
        "instrumented": copy,
        "metadata": json.loads(engine.spec.to_json()),
    }


def _describe_options(options: OpenOptions) -> dict[str, Any]:
    """What opens the model again in the same way; preprocessing and labels are recorded whole, with the model."""
    import numpy as np

    return {
        "providers": None if options.providers is None else list(options.providers),
        "input_size_hw": options.input_size_hw,
        "layout": options.layout,
        "layers": list(options.layers),
        "logits": options.logits,
        "box": options.box,
        "batch": options.batch,
        "heads": [asdict(head) for head in options.heads],
        "inputs": {name: np.asarray(value).tolist() for name, value in options.inputs.items()},
        "detector": options.detector,
    }


def _describe_question(question: Question, folder: Path) -> dict[str, Any]:
    from onnxplain.runtime.heads.aim import Aim

    aim = question.target if isinstance(question.target, Aim) else None
    return {
        "method": question.method,
        "target": question.target if aim is None else None,
        "aim": None if aim is None else _describe_aim(aim, folder),
        "target_text": question.target_text,
        "options": {name: _describe_option(name, value, folder) for name, value in question.options},
        "suffix": question.suffix,
    }


def _describe_option(name: str, value: Any, folder: Path) -> Any:
    """A method's option as plain data; a file that it names as seen from the folder."""
    if isinstance(value, tuple):
        return list(value)
    return relative_to(Path(value), folder) if _names_file(name, value, Path()) else value


def read_option(name: str, value: Any, folder: Path) -> Any:
    """A method's option from a record in that folder."""
    if isinstance(value, list):
        return tuple(value)
    return str(folder / value) if _names_file(name, value, folder) else value


def _names_file(name: str, value: Any, folder: Path) -> bool:
    """Whether the option is a file: another image as fill, or a label map of players."""
    from onnxplain.explainers.masked.fill import FillName
    from onnxplain.explainers.masked.players import PlayerKind
    from onnxplain.files.existing import is_existing_file

    kinds = {"fill": get_args(FillName), "players": get_args(PlayerKind)}
    return name in kinds and isinstance(value, str) and value not in kinds[name] and is_existing_file(folder / value)


def _describe_aim(aim: Aim, folder: Path) -> dict[str, Any]:
    """What stands beside a target."""
    like = None if aim.like is None else Path(str(aim.like))
    return {
        "target": aim.target,
        "against": aim.against,
        "like": None if like is None else {"file": relative_to(like, folder), "sha256": hash_of(like)},
        "region": None if aim.region is None else list(aim.region),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
