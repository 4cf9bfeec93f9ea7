"""What Ultralytics writes into ``metadata_props`` when it exports a model.

Keys: https://docs.ultralytics.com/modes/export (`Exporter`: stride, task, imgsz, names, channels and others; values are
``str(value)``). The YOLOv5 repository writes `stride` and `names` alone.
"""

from __future__ import annotations

from functools import partial

from onnxplain.contract import HeadKind, PreprocessingParts
from onnxplain.contract.expected import MOST_CHANNELS
from onnxplain.sidecars.facts import SidecarFacts, Sourced, unless_unusable
from onnxplain.sidecars.labels import labels_of_tree
from onnxplain.sidecars.problem import UnusableError
from onnxplain.sidecars.surroundings import Surroundings, parse_literal
from onnxplain.sidecars.values import size_hw, whole

_SOURCE = "the file's Ultralytics metadata"
# Predictors resize to a letterbox with grey 114; classification scales the short side to the size and cuts out the
# centre (`classify_transforms`, crop_fraction 1). Both divide by 255 and normalise no further:
# https://docs.ultralytics.com/reference/data/augment
_RESIZE = {
    "classify": PreprocessingParts(resize="crop", crop_share=1.0),
    **dict.fromkeys(("detect", "segment", "pose", "obb"), PreprocessingParts(resize="letterbox")),
}


def read_ultralytics(around: Surroundings) -> SidecarFacts:
    """Labels, size, channels, task and preprocessing from the metadata of the file itself."""
    props = around.metadata_props
    if "stride" not in props or not {"names", "task"} & set(props):
        return SidecarFacts()
    facts = SidecarFacts()
    for key, read in _KEYS.items():
        if key in props:
            facts = facts.over(unless_unusable(f"{_SOURCE}, {key}", partial(read, props[key])))
    channels = 3 if facts.channels is None else facts.channels.value
    resize = _RESIZE.get("" if facts.task is None else facts.task.value)
    if resize is not None and channels in (1, 3):
        numbers = PreprocessingParts("gray" if channels == 1 else "rgb", 1 / 255, (0.0,), (1.0,))
        facts = facts.over(SidecarFacts(parts=Sourced(numbers.over(resize), _SOURCE)))
    return facts


def _names(text: str) -> SidecarFacts:
    return SidecarFacts(labels=Sourced(labels_of_tree(parse_literal(text)), _SOURCE))


def _imgsz(text: str) -> SidecarFacts:
    return SidecarFacts(input_size_hw=Sourced(size_hw("imgsz", parse_literal(text)), _SOURCE))


def _channels(text: str) -> SidecarFacts:
    return SidecarFacts(channels=Sourced(whole("channels", parse_literal(text), MOST_CHANNELS), _SOURCE))


def _task(text: str) -> SidecarFacts:
    if text not in _RESIZE:
        raise UnusableError("an unknown task", f"one of {', '.join(_RESIZE)}")
    # The other tasks are detections of several kinds.
    kind: Sourced[HeadKind] | None = Sourced("classes", _SOURCE) if text == "classify" else None
    return SidecarFacts(task=Sourced(text, _SOURCE), layout=Sourced("nchw", _SOURCE), kind=kind)


_KEYS = {"names": _names, "imgsz": _imgsz, "channels": _channels, "task": _task}
