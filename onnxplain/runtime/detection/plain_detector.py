"""The detector in a file that says nothing of onnxplain: from the end of its graph and what other tools say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxplain.contract import GivenLabels, GraphEnd, ImageInput
from onnxplain.contract.detectors import DetectorSpec, NoDetector, detector_labels, read_hints
from onnxplain.errors import ModelError
from onnxplain.runtime.detection.detector_file import find_detector
from onnxplain.runtime.sessions.session import Session
from onnxplain.sidecars import SidecarFacts, read_sidecars


@dataclass(frozen=True)
class StatedDetector:
    """What the user states of a detector: its layout and labels, and whether files of other tools are read."""

    layout: str | None = None
    labels: GivenLabels | None = None
    sidecars: bool = True

    @property
    def class_labels(self) -> tuple[str, ...] | None:
        """The labels of its classes. Raises OnnxplainError for labels of heads."""
        return None if self.labels is None else detector_labels(self.labels)


def find_plain_detector(
    session: Session, path: Path, end: GraphEnd, image: ImageInput, stated: StatedDetector, read: SidecarFacts
) -> DetectorSpec | NoDetector:
    """The detector; `NoDetector` where it is none. Raises ModelError for a detector that cannot be read."""
    props = session.get_modelmeta().custom_metadata_map if stated.sidecars else {}
    # Labels that the user states replace names, but the number of classes is the file's.
    own = read_sidecars(path, props).labels if stated.sidecars and stated.labels is not None else read.labels
    given = None if stated.labels is None or isinstance(stated.labels, Mapping) else len(stated.labels)
    hints = read_hints(
        props,
        stated=stated.layout,
        classes=given if own is None else len(own.value),
        model_type=None if read.model_type is None else read.model_type.value,
    )
    found = find_detector(session, end, image.size_hw, hints)
    if isinstance(found, NoDetector) and found.is_refused:
        raise ModelError(str(found))
    return found
