"""Find the scalar to explain and the layer to use from the names that a user gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from onnxplain.contract import LayerSpec, ModelSpec
from onnxplain.contract.detectors import DetectorSpec
from onnxplain.contract.expected import shown
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.runtime.heads.target_names import target_count, target_name
from onnxplain.runtime.heads.target_text import ResolvedTarget, Target, parse_target

__all__ = [
    "PREDICTED_CLASS",
    "ResolvedTarget",
    "Target",
    "check_targets",
    "parse_target",
    "resolve_layer",
    "resolve_target",
    "resolve_targets",
    "spread_target",
    "target_count",
    "target_name",
]

PREDICTED_CLASS = -1


def resolve_target(spec: ModelSpec, target: Target) -> int:
    """The index of the contract: −1 the default head's best entry, 0 … T − 1 an entry of a head.

    `parse_target` says what a target may be. Raises OnnxplainError for anything else, and for targets that need more
    than an index: ``not:`` and ``LABEL@X,Y``.
    """
    found = parse_target(spec, target)
    if not found.is_plain:
        raise OnnxplainError(f"target: found {target!r}, expected a target without not: and @ here")
    return found.index


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


def is_list(target: Target | Iterable[Target]) -> TypeGuard[Iterable[Target]]:
    """Whether a target is a list of targets."""
    return isinstance(target, Iterable) and not isinstance(target, str)


def resolve_targets(spec: ModelSpec, target: Target | Iterable[Target], count: int) -> npt.NDArray[np.int64]:
    """Indices int64 (count,): one target for all images, or a list with one per image."""
    return np.asarray([resolve_target(spec, entry) for entry in spread_target(target, count)], np.int64)


def check_targets(spec: ModelSpec, targets: npt.NDArray[np.integer] | None, count: int) -> npt.NDArray[np.int64]:
    """Check that target indices exist in the model: int64 (count,), or any number for one image.

    None: the predicted class of each image.
    """
    if targets is None:
        return np.full(count, PREDICTED_CLASS, np.int64)
    fits = targets.shape == (count,) or (count == 1 and targets.ndim == 1 and targets.size > 0)
    if not fits or not np.issubdtype(targets.dtype, np.integer):
        expected = "integers, (T,)" if count == 1 else f"one integer per image, ({count},)"
        raise OnnxplainError(f"target: found {targets.dtype} {targets.shape}, expected {expected}")
    for index in np.unique(targets):
        if spec.detector is not None:
            check_detector_target(spec.detector, int(index))
        else:
            resolve_target(spec, int(index))
    return targets.astype(np.int64)


def check_detector_target(detector: DetectorSpec, index: int) -> None:
    """Raise OnnxplainError for a number that is neither −1 nor a class or corner of a candidate.

    Where the number of candidates depends on the image, the run itself fails for one that does not exist.
    """
    count = None if detector.candidates is None else detector.target(detector.candidates, 0)
    if index < PREDICTED_CLASS or (count is not None and index >= count):
        most = "up" if count is None else f"to {count - 1}"
        raise OnnxplainError(
            f"target: found {index}, expected -1 for the best detection, or candidate · (classes + 4) + column, from 0 "
            f"{most}"
        )


def resolve_layer(spec: ModelSpec, layer: str | None) -> LayerSpec:
    """The instrumented layer with that name, or the only one whose name contains it. None or "auto": the last.

    Raises UnsupportedError if the file has no layers, OnnxplainError for an unknown or ambiguous name.
    """
    if not spec.layers:
        raise UnsupportedError(
            "found no instrumented layers, expected at least one: run `onnxplain instrument` first, or use rise"
        )
    if layer is not None and not isinstance(layer, str):
        raise OnnxplainError(f"layer: found {shown(layer)}, expected the name of a layer")
    if layer is None or layer == "auto":
        return spec.layers[-1]
    names = [entry.name for entry in spec.layers]
    matches = [name for name in names if layer == name] or [name for name in names if layer in name]
    if len(matches) != 1:
        matching = f", which matches {', '.join(matches)}" if matches else ""
        raise OnnxplainError(f"layer: found {layer!r}{matching}, expected one of {', '.join(names)}")
    return spec.layers[names.index(matches[0])]
