"""The table of tools whose metadata and files are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from onnxplain.sidecars.facts import SidecarFacts
from onnxplain.sidecars.hugging_face import read_config, read_preprocessor_config
from onnxplain.sidecars.labels import read_label_file
from onnxplain.sidecars.paddle import read_paddle
from onnxplain.sidecars.surroundings import Surroundings
from onnxplain.sidecars.timm import read_timm
from onnxplain.sidecars.ultralytics import read_ultralytics


@dataclass(frozen=True)
class Tool:
    """Where a tool keeps what it says about a model, in words, and the functions that read it."""

    where: str
    readers: tuple[Callable[[Surroundings], SidecarFacts], ...]


# Where two tools say the same, the first one counts: the metadata travel with the model, a label file may be anyone's.
TOOLS: Mapping[str, Tool] = {
    "Ultralytics": Tool("metadata_props", (read_ultralytics,)),
    "timm": Tool("config.json", (read_timm,)),
    "Hugging Face": Tool("config.json, preprocessor_config.json", (read_preprocessor_config, read_config)),
    "Paddle": Tool("inference.yml, deploy.yaml, infer_cfg.yml", (read_paddle,)),
    "label file": Tool("MODEL.labels.txt, labels.txt, labels.json, class_index.json", (read_label_file,)),
}


def read_sidecars(model_path: str | os.PathLike[str], metadata_props: Mapping[str, str]) -> SidecarFacts:
    """What the tools of `TOOLS` say about a model in its metadata and beside its file.

    Raises nothing: what cannot be used is among the `problems`. Whether the facts fit the model, say
    `read_with_facts` and `fit_classes`.
    """
    around = Surroundings(Path(model_path), metadata_props)
    facts = SidecarFacts()
    for tool in TOOLS.values():
        for read in tool.readers:
            facts = facts.over(read(around))
    # Two readers of one file find the same fault in it.
    return replace(facts, problems=tuple(dict.fromkeys(facts.problems)))


def sidecar_files(model_path: Path) -> tuple[Path, ...]:
    """The files of other tools that are beside a model, in its own folder. They are not opened."""
    names = [name.replace("MODEL", model_path.stem) for tool in TOOLS.values() for name in tool.where.split(", ")]
    return tuple(path for name in dict.fromkeys(names) if (path := model_path.with_name(name)).is_file())
