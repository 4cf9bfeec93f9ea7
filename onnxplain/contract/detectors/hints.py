"""What is said about a detector outside its graph: by the user, by Ultralytics' metadata, by Hugging Face's files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

DETECTOR_TASKS = ("detect", "segment", "pose", "obb")
"""Ultralytics' tasks whose outputs hold boxes."""


@dataclass(frozen=True)
class DetectorHints:
    """None for what nobody says.

    `stated`: the layout that the user states. `classes`: how many labels there are. `task`: Ultralytics' word; empty
    for a file of the YOLOv5 repository, which does not say its task. `end2end`: whether Ultralytics exported it with
    non-maximum suppression or without need of it. `model_type`: Hugging Face's word.
    """

    stated: str | None = None
    classes: int | None = None
    task: str | None = None
    end2end: bool | None = None
    model_type: str | None = None

    @property
    def is_ultralytics_detector(self) -> bool:
        """Whether metadata of Ultralytics say that it is a detector."""
        return self.task is not None and (self.task == "" or self.task in DETECTOR_TASKS)


def read_hints(
    metadata_props: Mapping[str, str],
    *,
    stated: str | None = None,
    classes: int | None = None,
    model_type: str | None = None,
) -> DetectorHints:
    """The hints in a file's metadata, beside what the caller knows."""
    task, end2end = None, None
    if "stride" in metadata_props and {"names", "task"} & set(metadata_props):
        task = metadata_props.get("task", "")
        arguments = metadata_props.get("args", "")
        with_nms = re.search(r"['\"]nms['\"]: *True", arguments) is not None
        known = "end2end" in metadata_props or arguments
        end2end = metadata_props.get("end2end") == "True" or with_nms if known else None
    return DetectorHints(stated, classes, task, end2end, model_type)
