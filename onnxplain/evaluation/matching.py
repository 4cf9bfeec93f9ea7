"""Checks that model, data set and heatmaps of an evaluation fit together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path

from onnxplain.data.dataset import DataSet
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.identity import identify_model
from onnxplain.evaluation.image_ids import drawn_when_asked
from onnxplain.runtime.engine import Engine
from onnxplain.runtime.target import PREDICTED_CLASS


def match_labels(engine: Engine, dataset: DataSet, *, unlabelled: bool = False) -> dict[str, int]:
    """The model's class for each label that the records show: the same name, or the index if the label is a number.

    `unlabelled`: images without a label are allowed.
    Raises OnnxplainError, with the labels, if the model does not have all of them.
    """
    # Generated records are not drawn just to get their labels; they may have any label.
    shown = dataset.labels if drawn_when_asked(dataset.records) else [record.label for record in dataset.records]
    if unlabelled:
        shown = [label for label in shown if label]
    if "" in shown:
        raise OnnxplainError(
            f"{dataset.name}: found {list(shown).count('')} images without a label, expected one for each: explain the "
            "predicted class with --target predicted"
        )
    found, missing = _nameless_masks(engine, dataset), []
    for label in dict.fromkeys(shown):
        if label in found:
            continue
        try:
            class_id = engine.resolve_target(label)
        except OnnxplainError:
            class_id = PREDICTED_CLASS
        if 0 <= class_id < engine.spec.classes:
            found[label] = class_id
        else:
            missing.append(label)
    if missing:
        known = ", ".join(engine.spec.labels[:5]) or "none"
        raise OnnxplainError(
            f"{dataset.name}: found labels that the model lacks: {', '.join(missing[:10])}; its labels: {known} … "
            f"({engine.spec.classes} classes): give its labels with --labels FILE, or explain the predicted class with "
            "--target predicted"
        )
    return found


def _nameless_masks(engine: Engine, dataset: DataSet) -> dict[str, int]:
    """Classes of label maps that have an index and no name: the entry of the same index of a head of masks.

    In a mask of one class, 1 is that class. Raises OnnxplainError for a head of another kind, whose classes can be
    numbered in another way: many count from the first class, label maps from the background.
    """
    if drawn_when_asked(dataset.records):
        return {}
    nameless = {
        record.label: record.mask.index
        for record in dataset.records
        if record.mask is not None and record.label == str(record.mask.index) and record.label not in engine.spec.labels
    }
    head = engine.spec.head
    if nameless and head.kind != "mask":
        raise OnnxplainError(
            f"{dataset.name}: found masks without names of classes, expected names for a head of kind {head.kind}: "
            "write classes.txt beside the masks, one line per index, background first"
        )
    first = 1 if head.entries == 1 else 0
    return {label: index - first for label, index in nameless.items() if 0 <= index - first < head.entries}


def require_comparable(engine: Engine, sanity: Engine) -> None:
    """Raise OnnxplainError if `sanity` cannot be the model with shuffled weights."""
    if sanity.spec.classes != engine.spec.classes or sanity.spec.input.size_hw != engine.spec.input.size_hw:
        raise OnnxplainError(
            f"{sanity.source}: found {sanity.spec.classes} classes and input {sanity.spec.input.size_hw}, expected "
            f"{engine.spec.classes} and {engine.spec.input.size_hw} as in {engine.source}: "
            "run `onnxplain instrument --shuffle-weights SEED` on the same model"
        )
    if identify_model(sanity)["sha256"] == identify_model(engine)["sha256"]:
        raise OnnxplainError(f"{sanity.source}: found the model itself, expected it with shuffled weights")


def find_folders(heatmaps: Mapping[str, str | PathLike[str]], methods: Collection[str]) -> dict[str, Path]:
    """The folders of heatmaps by name. Raises OnnxplainError if one is missing or has the name of a method."""
    folders = {name: Path(folder) for name, folder in heatmaps.items()}
    for name, folder in folders.items():
        if name in methods:
            raise OnnxplainError(f"heatmaps: found {name!r}, which is also a method asked for: choose another name")
        if not folder.is_dir():
            raise OnnxplainError(f"heatmaps {name}: found no folder {folder}: check the path")
    return folders
