"""The labels of a detector's classes, without the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxplain.contract.detectors.detector_spec import DetectorSpec
from onnxplain.contract.heads.stated import GivenLabels
from onnxplain.errors import OnnxplainError

_BACKGROUNDS = frozenset({"background", "bg", "noobject", "none", "na", ""})


def detector_labels(given: GivenLabels) -> tuple[str, ...]:
    """The stated labels of a detector's classes. Raises OnnxplainError for labels of heads."""
    if isinstance(given, Mapping):
        raise OnnxplainError(
            f"labels: found those of the heads {', '.join(given)}, expected one list: a detector has no heads"
        )
    return tuple(given)


def class_labels(labels: Sequence[str], spec: DetectorSpec) -> tuple[str, ...]:
    """The labels without that of the background, where the layout has one and the list names it.

    Files of TensorFlow and torchvision count their classes from 1, and lists of labels often have an entry for 0.
    """
    found, layout = tuple(labels), spec.layout
    first = layout.background == "first" or layout.first_class > 0
    if found and first and _is_background(found[0]) and len(found) != spec.classes:
        return found[1:]
    if found and layout.background == "last" and _is_background(found[-1]) and len(found) != spec.classes:
        return found[:-1]
    return found


def _is_background(label: str) -> bool:
    return "".join(letter for letter in label.lower() if letter.isalnum()) in _BACKGROUNDS
