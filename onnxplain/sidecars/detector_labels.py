"""The labels of a detector's classes: stated, read, or its family's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnxplain.contract.detectors import DetectorSpec, class_labels
from onnxplain.sidecars.facts import SidecarFacts
from onnxplain.sidecars.fit import fit_classes


def label_detector(
    detector: DetectorSpec, stated: Sequence[str] | None, read: SidecarFacts
) -> tuple[DetectorSpec, SidecarFacts]:
    """The detector with labels: stated ones, else those of other tools that fit, else its family's; and what fits."""
    if read.labels is not None:
        read = replace(read, labels=replace(read.labels, value=class_labels(read.labels.value, detector)))
    if detector.classes is not None:
        read = fit_classes(read, detector.classes)
    usual = detector.layout.labels if len(detector.layout.labels) == detector.classes else ()
    labels = usual if read.labels is None else read.labels.value
    if stated is not None:
        labels = class_labels(stated, detector)
    return replace(detector, labels=labels), read
