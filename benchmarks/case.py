"""A case: one piece of work that several tools do in the same rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Kind = Literal["time", "start", "import", "size", "memory", "quality"]

UNITS: dict[Kind, str] = {
    "time": "s",
    "start": "s",
    "import": "s",
    "size": "bytes",
    "memory": "bytes",
    "quality": "s",
}

# Raw ONNX Runtime's forward passes and PyTorch's.
YARDSTICKS = ("floor", "torch@forward")

QUICK_ROUNDS, QUICK_QUALITY_ROUNDS, QUICK_BATCH, QUICK_MASKS = 1, 6, 2, 24
QUICK_OPTIONS = {"copies": 4, "images": 10}


@dataclass(frozen=True)
class Case:
    """One row of the table.

    `name`: group/model/detail. `kind`: how it is measured, see `measure.py`. `region`: what lies between the two looks
    at the clock (or what the bytes count), in words. `tools`: all that are asked, in the order of the first round;
    ``tool@variant`` is another way of calling the same tool. `rounds`: samples per tool. `batch`: images per call.
    `masks`: of RISE. `options`: whatever else the workers should know. `note`: what a reader of its rows should know.
    """

    name: str
    kind: Kind
    method: str
    model: str
    region: str
    tools: tuple[str, ...]
    rounds: int = 15
    batch: int = 1
    masks: int | None = None
    provider: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"case {self.name}: found kind {self.kind!r}, expected one of {', '.join(get_args(Kind))}")
        if not self.tools or len(set(self.tools)) != len(self.tools):
            raise ValueError(f"case {self.name}: found tools {self.tools}, expected at least one, each once")
        if min(self.rounds, self.batch, self.masks or 1) < 1:
            raise ValueError(f"case {self.name}: found rounds, batch or masks below 1")

    @property
    def group(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    @property
    def unit(self) -> str:
        """Of the samples: images/s where throughput is counted, else what the kind measures."""
        return "images/s" if self.method == "throughput" else UNITS[self.kind]


def shrink(case: Case) -> Case:
    """The same case, so small that it shows only whether everything works."""
    options = {name: min(value, QUICK_OPTIONS.get(name, value)) for name, value in case.options.items()}
    rounds = min(case.rounds, QUICK_QUALITY_ROUNDS if case.kind == "quality" else QUICK_ROUNDS)
    masks = case.masks and min(case.masks, QUICK_MASKS)
    return replace(case, rounds=rounds, batch=min(case.batch, QUICK_BATCH), masks=masks, options=options)


def makes_map(tool: str) -> bool:
    """Whether a tool explains; yardsticks are timed beside it and make no map."""
    return tool not in YARDSTICKS


def tool_folder(tool: str) -> str:
    """The peer that runs a tool: ``openvino-xai@bf16`` is done by ``openvino-xai``."""
    return tool.partition("@")[0]
