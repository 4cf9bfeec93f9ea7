"""Find the scalar to explain and the layer to use from the names that a user gives."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from onnxplain.contract import BOX_COORDINATES, LayerSpec, ModelSpec
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.runtime.detection.detections import Detection

PREDICTED_CLASS = -1
Target = int | str | Detection | None
_BOX_PREFIX = "box:"


def resolve_target(spec: ModelSpec, target: Target) -> int:
    """The index of the contract: -1 the predicted class, 0…C-1 a class, C…C+3 a box coordinate.

    None is the predicted class. A string is a label (an exact match wins over an index), an index, or ``box:0``
    … ``box:3`` if the model has a box head. Raises OnnxplainError for anything else; the message lists similar labels.
    """
    if target is None:
        return PREDICTED_CLASS
    if isinstance(target, str):
        return _resolve_text(spec, target)
    if isinstance(target, bool | np.bool_) or not isinstance(target, int | np.integer):
        raise OnnxplainError(f"target: found {target!r}, expected a class index, a label or box:0 … box:3")
    index = int(target)
    if not PREDICTED_CLASS <= index < target_count(spec):
        raise OnnxplainError(f"target: found {index}, expected {_describe_targets(spec)}")
    return index


def spread_target(target: Target | Iterable[Target], count: int) -> list[Target]:
    """One target per image. A list must have `count` entries; any other value is used for all images."""
    if isinstance(target, str) or not isinstance(target, Iterable):
        return [target] * count
    targets = list(target)
    if len(targets) != count:
        raise OnnxplainError(
            f"target: found {len(targets)} targets for {count} images, expected one per image, or one target for all"
        )
    return targets


def resolve_targets(spec: ModelSpec, target: Target | Iterable[Target], count: int) -> npt.NDArray[np.int64]:
    """Indices int64 (count,): one target for all images, or a list with one per image."""
    return np.asarray([resolve_target(spec, entry) for entry in spread_target(target, count)], np.int64)


def check_targets(spec: ModelSpec, targets: npt.NDArray[np.integer] | None, count: int) -> npt.NDArray[np.int64]:
    """Check that target indices exist in the model: int64 (count,). None: the predicted class of each image."""
    if targets is None:
        return np.full(count, PREDICTED_CLASS, np.int64)
    if targets.shape != (count,) or not np.issubdtype(targets.dtype, np.integer):
        raise OnnxplainError(
            f"target: found {targets.dtype} {targets.shape}, expected one integer per image, ({count},)"
        )
    for index in np.unique(targets):
        resolve_target(spec, int(index))
    return targets.astype(np.int64)


def target_name(spec: ModelSpec, index: int) -> str:
    """The display name of a target: the class's label (its index without labels), or ``box:0`` … ``box:3``."""
    if not 0 <= index < target_count(spec):
        raise OnnxplainError(f"target: found {index}, expected {_describe_targets(spec)}")
    return spec.label(index) if index < spec.classes else f"{_BOX_PREFIX}{index - spec.classes}"


def target_count(spec: ModelSpec) -> int:
    """Number of scalars that can be explained: the classes, and four box coordinates if there is a box head."""
    return spec.classes + (BOX_COORDINATES if spec.outputs.box is not None else 0)


def resolve_layer(spec: ModelSpec, layer: str | None) -> LayerSpec:
    """The instrumented layer with that name, or the only one whose name contains it. None or "auto": the last.

    Raises UnsupportedError if the file has no layers, OnnxplainError for an unknown or ambiguous name.
    """
    if not spec.layers:
        raise UnsupportedError(
            "found no instrumented layers, expected at least one: run `onnxplain instrument` first, or use rise"
        )
    if layer is None or layer == "auto":
        return spec.layers[-1]
    names = [entry.name for entry in spec.layers]
    matches = [name for name in names if layer == name] or [name for name in names if layer in name]
    if len(matches) != 1:
        matching = f", which matches {', '.join(matches)}" if matches else ""
        raise OnnxplainError(f"layer: found {layer!r}{matching}, expected one of {', '.join(names)}")
    return spec.layers[names.index(matches[0])]


def _resolve_text(spec: ModelSpec, text: str) -> int:
    same = [index for index, label in enumerate(spec.labels) if label == text]
    if len(same) == 1:
        return same[0]
    if same:
        indices = ", ".join(str(index) for index in same)
        raise OnnxplainError(
            f"target: found {text!r}, the label of several classes, expected one: give index {indices}"
        )
    if text.startswith(_BOX_PREFIX):
        coordinate = text.removeprefix(_BOX_PREFIX)
        if spec.outputs.box is None:
            raise OnnxplainError(f"target: found {text!r}, expected a class: the model has no box head")
        if coordinate not in {str(number) for number in range(BOX_COORDINATES)}:
            raise OnnxplainError(f"target: found {text!r}, expected box:0, box:1, box:2 or box:3")
        return spec.classes + int(coordinate)
    try:
        return resolve_target(spec, int(text))
    except ValueError:
        near = near_labels(spec, text)
        hint = f"; similar labels: {'; '.join(near)}" if near else ""
        raise OnnxplainError(f"target: found {text!r}, expected {_describe_targets(spec)}{hint}") from None


def near_labels(spec: ModelSpec, text: str) -> list[str]:
    """Up to five labels that contain the text or are spelled like it."""
    lowered = {label.lower(): label for label in spec.labels}
    contains = [label for low, label in lowered.items() if text.lower() in low]
    close = [lowered[low] for low in difflib.get_close_matches(text.lower(), lowered)]
    return list(dict.fromkeys(contains + close))[:5]


def _describe_targets(spec: ModelSpec) -> str:
    labels = "a label, " if spec.labels else ""
    box = ", box:0 … box:3" if spec.outputs.box is not None else ""
    return f"{labels}a class index from 0 to {spec.classes - 1}{box}, or -1 for the predicted class"
