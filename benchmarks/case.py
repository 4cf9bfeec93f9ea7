"""A case: one task that several tools do in the same rounds."""

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

# Forward passes only, of ONNX Runtime and of PyTorch.
YARDSTICKS = ("floor", "torch@forward")

QUICK_ROUNDS, QUICK_QUALITY_ROUNDS, QUICK_BATCH, QUICK_MASKS = 1, 6, 2, 24
QUICK_OPTIONS = {"copies": 4, "images": 10}


@dataclass(frozen=True)
class Case:
    """One row of the table.

    `name`: group/model/detail. `kind`: how it is measured, see `measure.py`. `region`: what is timed (or what
    the bytes count), in words. `tools`: all tools that are measured, in the order of the first round; ``tool@variant``
    is another way to call the same tool. `rounds`: samples per tool. `batch`: images per call. `masks`: number of masks
    for RISE. `options`: further settings for the workers. `note`: a remark for readers of the results.
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
        """Unit of the samples: images/s for throughput, else the unit of the kind."""
        return "images/s" if self.method == "throughput" else UNITS[self.kind]


def shrink(case: Case) -> Case:
    """The same case with small sizes, only to check that everything works."""
    options = {name: min(value, QUICK_OPTIONS.get(name, value)) for name, value in case.options.items()}
    rounds = min(case.rounds, QUICK_QUALITY_ROUNDS if case.kind == "quality" else QUICK_ROUNDS)
    masks = case.masks and min(case.masks, QUICK_MASKS)
    return replace(case, rounds=rounds, batch=min(case.batch, QUICK_BATCH), masks=masks, options=options)


def makes_map(tool: str) -> bool:
    """Whether a tool makes a map; yardsticks are timed but make none."""
    return tool not in YARDSTICKS


def tool_folder(tool: str) -> str:
    """The folder of the peer that runs a tool: ``openvino-xai`` for ``openvino-xai@bf16``."""
    return tool.partition("@")[0]
