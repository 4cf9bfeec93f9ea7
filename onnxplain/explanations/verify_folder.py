"""Explain again as ``run.json`` says, and tell what differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.explanations.aims import read_aim
from onnxplain.explanations.answer_tree import summarise_answers
from onnxplain.explanations.changed_surroundings import (
    changed_files,
    changed_options,
    changed_references,
    changed_surroundings,
)
from onnxplain.explanations.differences import Difference, first_difference, map_difference
from onnxplain.explanations.explanation_folder import RESULTS_FILE
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.explanations.run_record import RECORD_FILE, RUN_SCHEMA, RUN_VERSION, hash_of, read_option

if TYPE_CHECKING:
    from onnxplain.explainers import Explainer, Explanation
    from onnxplain.runtime import Detections, Engine


@dataclass(frozen=True)
class RunToVerify:
    """A folder of `explain` with its record and its lines, checked as far as this program reads them."""

    folder: Path
    record: Mapping[str, Any]
    lines: tuple[Mapping[str, Any], ...]

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.folder / str(self.record["model"]["file"])


def read_run(folder: Path) -> RunToVerify:
    """The record and the lines of a folder. Raises OnnxplainError for a folder of another schema or without them."""
    record = _read_json(folder / RECORD_FILE)
    if record.get("schema") != RUN_SCHEMA or record.get("version") != RUN_VERSION:
        raise OnnxplainError(
            f"{folder / RECORD_FILE}: found schema {record.get('schema')!r} version {record.get('version')!r}, "
            f"expected {RUN_SCHEMA!r} version {RUN_VERSION}: explain the images again with this version"
        )
    try:
        text = (folder / RESULTS_FILE).read_text(encoding="utf-8")
        # Not splitlines: a label may hold one of Unicode's other line breaks.
        written = [line for line in text.split("\n") if line]
        lines = tuple(json.loads(line, parse_constant=_refuse_constant) for line in written)
        run = RunToVerify(folder, record, lines)
        _ = run.model, record["id"], record["model"]["sha256"], record["opened_with"], record["questions"]
        others = {line["run"] for line in lines} - {record["id"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OnnxplainError(
            f"{folder}: found a record that was changed or is not whole ({type(error).__name__}: {error}), expected "
            "the files of `onnxplain explain`: explain the images again"
        ) from error
    if others:
        raise OnnxplainError(
            f"{folder / RESULTS_FILE}: found lines of run {sorted(map(str, others))[0]}, expected those of "
            f"{record['id']}: explain the images again"
        )
    return run


def verify_run(run: RunToVerify) -> Iterator[Difference]:
    """The differences, in the order in which they are found. Raises OnnxplainError if the run cannot be repeated.

    Maps are compared bit for bit; see `map_difference` for those that differ in their last digits alone. Versions and
    processors that differ are reported only if a map differs, because they are then the likely reason.
    """
    changed_model = tuple(changed_files(run))
    yield from changed_model
    yield from changed_references(run)
    yield from changed_options(run)
    engine = _open(run)
    differs = False
    explainers: dict[str, Explainer] = {}
    answered: set[str] = set()
    for line in run.lines:
        if "error" in line:
            continue
        for difference in _compare(run, engine, line, explainers, answered):
            differs = differs or difference.is_real
            yield difference
    if differs:
        yield from changed_surroundings(run)


def _open(run: RunToVerify) -> Engine:
    """The engine, opened as it was: with the whole recorded preprocessing, and without what other files say now."""
    import numpy as np

    from onnxplain.contract import ModelSpec, PreprocessingParts, StatedHead
    from onnxplain.explanations.open_model import open_model

    spec = ModelSpec.from_json(json.dumps(run.record["model"]["metadata"]))
    with_ = run.record["opened_with"]
    instrumented = run.record["model"]["instrumented"] is not None
    # What other files said is not read again.
    read_elsewhere = [StatedHead(head.name, head.kind) for head in spec.heads if head.evidence.kind == "read"]
    options = OpenOptions(
        providers=None if with_["providers"] is None else tuple(with_["providers"]),
        threads=run.record["engine"]["threads"],
        precision=run.record["engine"]["precision"],
        preprocessing=PreprocessingParts.of(spec.input.preprocessing),
        input_size_hw=None if with_["input_size_hw"] is None else tuple(with_["input_size_hw"]),
        layout=with_["layout"],
        labels={head.name: head.labels for head in spec.heads if head.labels} or None,
        heads=(*(StatedHead(**head) for head in with_["heads"]), *read_elsewhere),
        inputs={name: np.asarray(value) for name, value in with_["inputs"].items()},
        sidecars=False,
        layers=tuple(with_["layers"]),
        logits=with_["logits"] if instrumented else None,
        box=with_["box"] if instrumented else None,
        batch=with_["batch"] if instrumented else "auto",
        detector=with_["detector"],
    )
    methods = tuple(dict.fromkeys(question["method"] for question in run.record["questions"]))
    return open_model(run.model, methods, options).engine


def _compare(
    run: RunToVerify,
    engine: Engine,
    line: Mapping[str, Any],
    explainers: dict[str, Explainer],
    answered: set[str],
) -> Iterator[Difference]:
    """Explain the image of one line again, and compare image, answer and map. `answered`: the images seen before."""
    import numpy as np

    path = run.folder / line["image"]
    name = f"{line['image']} {line['method']}"
    try:
        found_hash = hash_of(path)
    except OnnxplainError:
        yield Difference("missing", str(line["image"]), "no such file", "an image")
        return
    if found_hash != line["image_sha256"]:
        yield Difference("image", str(line["image"]), f"SHA-256 {found_hash[:12]}…", f"{line['image_sha256'][:12]}…")
    try:
        recorded = np.load(run.folder / line["raw"])
    except (OSError, ValueError) as error:
        yield Difference("missing", str(line["raw"]), f"no array ({error})", "a map")
        return
    try:
        explanation = _explain(run, engine, line, path, explainers)
    except ImageError as error:
        yield Difference("image", str(line["image"]), str(error), "an image that can be read")
        return
    if explanation.label != line["label"] or explanation.status != line["status"]:
        yield Difference("answer", name, f"{explanation.label}, {explanation.status}",
                         f"{line['label']}, {line['status']}")  # fmt: skip
    if line["image"] not in answered:
        answered.add(line["image"])
        yield from _compare_answers(summarise_answers(explanation.answers, _detections(run, engine, path)), line)
    difference = map_difference(name, explanation.raw, recorded, _question_of(run.record["questions"], line))
    if difference is not None:
        yield difference


def _detections(run: RunToVerify, engine: Engine, path: Path) -> Detections | None:
    """What a detector finds in the image, with the recorded thresholds; None for other models."""
    recorded = run.record["detection"]
    if recorded is None:
        return None
    from onnxplain.explanations.image_arguments import read_image

    pixels = read_image(engine, path, run.record["max_megapixels"])
    return engine.detect(pixels, min_score=recorded["min_score"], iou=recorded["iou"])[0]


def _compare_answers(answers: Sequence[Mapping[str, Any]], line: Mapping[str, Any]) -> Iterator[Difference]:
    """For each head, the first number or label that differs from the record."""
    found = {answer["head"]: answer for answer in answers}
    recorded = {answer["head"]: answer for answer in line["answers"]}
    for head in dict.fromkeys((*found, *recorded)):
        differing = first_difference(found.get(head), recorded.get(head))
        if differing is not None:
            path, *values = differing
            yield Difference("answer", f"{line['image']} head {head}{path}", *map(str, values))


def _explain(
    run: RunToVerify, engine: Engine, line: Mapping[str, Any], path: Path, explainers: dict[str, Explainer]
) -> Explanation:
    """The explanation of a line's question, by an explainer that is built once for each method and its options."""
    from onnxplain.explainers import build
    from onnxplain.explanations.image_arguments import read_image
    from onnxplain.runtime.detection.detections import read_detection

    question = _question_of(run.record["questions"], line)
    key = json.dumps([question["method"], question["options"]], sort_keys=True)
    if key not in explainers:
        options = {name: read_option(name, value, run.folder) for name, value in question["options"].items()}
        explainers[key] = build(question["method"], engine, **options)
    pixels = read_image(engine, path, run.record["max_megapixels"])
    if line["detection"] is None:
        target = question["target"] if question["aim"] is None else read_aim(question["aim"], run.folder)
        (explanation,) = explainers[key].for_targets(pixels, [target])
        return explanation
    # Detections of one image share the masks, whose grid depends on the boxes of all.
    together = [each for each in run.lines if "error" not in each and _asked_with(each) == _asked_with(line)]
    detections = [read_detection(each["detection"], each["target"]) for each in together]
    explanations = explainers[key].for_targets(pixels, detections)
    return explanations[together.index(line)]


def _asked_with(line: Mapping[str, Any]) -> tuple[str, str]:
    """Lines with the same image and method come from one call."""
    return line["image"], line["method"]


def _question_of(questions: Sequence[Mapping[str, Any]], line: Mapping[str, Any]) -> Mapping[str, Any]:
    """The question that a line answers. What a detection is called depends on the image: there the method decides."""
    if line["detection"] is not None:
        return next(each for each in questions if each["method"] == line["method"])
    return next(each for each in questions if line["raw"].endswith(f"{each['suffix']}.raw.npy"))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which JSON does not have")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OnnxplainError(
            f"{path}: cannot be read ({reason}), expected the record that `onnxplain explain` writes: explain the "
            "images again with this version"
        ) from error
    if not isinstance(tree, dict):
        raise OnnxplainError(f"{path}: found {type(tree).__name__}, expected an object: explain the images again")
    return tree
