"""What `inspect` says about a detector."""

from __future__ import annotations

from onnxplain.contract import ModelSpec
from onnxplain.contract.detectors import DetectorSpec


def describe_detector(spec: ModelSpec) -> list[tuple[str, str]]:
    """Titles and texts in place of those about classes: the layout, why it is this one, candidates, outputs."""
    detector = spec.detector
    if detector is None:
        return []
    layout = detector.layout
    lines = [("layout", f"{layout.name}: {layout.families}")]
    lines += [("" if position else "evidence", str(each)) for position, each in enumerate(detector.evidence)]
    lines.append(("candidates", _candidates(detector)))
    lines.append(("boxes", _boxes(detector)))
    ignored = [*([f"{detector.rest} columns of each candidate"] if detector.rest else []), *detector.ignored]
    if ignored:
        lines.append(("not read", ", ".join(ignored)))
    return lines


def describe_detector_task(spec: ModelSpec) -> str:
    """``detection, 80 classes``."""
    if spec.detector is not None and spec.detector.classes is None and not spec.classes:
        return "detection, each candidate has its own class"
    return f"detection, {spec.classes} class{'es' if spec.classes != 1 else ''}"


def _candidates(detector: DetectorSpec) -> str:
    count = "as many as the image has" if detector.candidates is None else f"{detector.candidates} per image"
    if not detector.strides:
        return count
    return f"{count}, levels of stride {', '.join(map(str, detector.strides))}"


def _boxes(detector: DetectorSpec) -> str:
    layout = detector.layout
    units = "shares of the input's sides" if layout.normalized else "pixels of the input"
    overlap = "overlapping boxes are suppressed here" if layout.nms else "the model suppresses overlapping boxes itself"
    outputs = ", ".join(
        f"{'/'.join(output.columns)}: {' '.join(names)}"
        for output, names in zip(layout.outputs, detector.outputs, strict=True)
        if names
    )
    return f"{layout.box}, {units}; {overlap}; {outputs}"
