"""One tool's measurement in one case, and all measurements of a results file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from benchmarks.report.ratio import Ratio, paired_ratio, unpaired_ratio
from benchmarks.results import ResultsError

OURS, FLOOR = "onnxplain", "floor"
# onnxplain with another build of ONNX Runtime.
OURS_ELSEWHERE = "onnxplain-openvino"
# The order of rows and columns; other tools follow, by name.
TOOLS = (OURS, FLOOR, "torch", "torchcam", "captum", "grad-cam", "xplique", "dianna", "openvino-xai", OURS_ELSEWHERE)
# Usual names of tools, if they differ from the folder; for pictures and the README.
TITLES = {
    FLOOR: "ONNX Runtime alone",
    "torch": "plain PyTorch",
    "torchcam": "torch-cam",
    "grad-cam": "pytorch-grad-cam",
}
# Units for which more is better. Their ratios are inverted, so a ratio above 1 always means slower.
RATES = ("images/s",)


@dataclass(frozen=True)
class Measurement:
    """One line of a results file; samples of equal index in one block belong to the same round."""

    run: str
    case: str
    group: str
    tool: str
    kind: str
    unit: str
    samples: tuple[float, ...]
    machine: Mapping[str, Any]
    date: str
    commit: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    region: str | None = None
    threads: int | None = None
    evaluations: float | None = None
    agreement: Mapping[str, Any] | None = None
    quality: Mapping[str, Any] | None = None
    note: str | None = None
    error: str | None = None

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Measurement:
        """A measurement from the JSON object of a line; other fields are ignored."""
        names = [entry.name for entry in fields(cls)]
        needed = [entry.name for entry in fields(cls) if entry.default is entry.default_factory is MISSING]
        if missing := [name for name in needed if line.get(name) is None]:
            raise ResultsError(
                f"found a result of {line.get('case')!r} without {', '.join(missing)}: measure the case again"
            )
        known = {name: line[name] for name in names if line.get(name) is not None}
        return cls(**{**known, "samples": tuple(line["samples"])})

    @property
    def block(self) -> tuple[str, str]:
        """A key of the lines that a run wrote together: they have the same date."""
        return self.run, self.date

    @property
    def base_tool(self) -> str:
        """`openvino-xai` of the variant `openvino-xai@bf16`."""
        return self.tool.partition("@")[0]

    @property
    def is_peer(self) -> bool:
        """Whether this is another tool that did the same work; a yardstick or onnxplain itself is not."""
        return self.base_tool not in (OURS, OURS_ELSEWHERE, FLOOR) and self.tool.partition("@")[2] != "forward"

    @property
    def is_complete(self) -> bool:
        """Whether every trial has a sample; only the successful trials would make the tool look better."""
        return bool(self.samples) and (self.quality is None or self.quality["reached"] == self.quality["seeds"])

    @property
    def label(self) -> str:
        """The case without its group: the group is the table's heading."""
        return self.case.removeprefix(f"{self.group}/")


class Results:
    """The newest measurement of each tool in each case, in the order of the file."""

    def __init__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        every = [Measurement.from_line(line) for line in lines]
        self._newest_blocks = list(dict.fromkeys(entry.block for entry in reversed(every)))
        self._in_block = {(entry.block, entry.case, entry.tool): entry for entry in every}
        self._newest = {(entry.case, entry.tool): entry for entry in every}
        self.measurements = tuple(self._newest.values())

    def groups(self) -> list[str]:
        return list(dict.fromkeys(entry.group for entry in self.measurements))

    def cases(self, group: str) -> list[str]:
        return list(dict.fromkeys(entry.case for entry in self.measurements if entry.group == group))

    def of(self, case: str) -> list[Measurement]:
        """The measurements of a case: onnxplain, the floor, then the others."""
        return sorted((entry for entry in self.measurements if entry.case == case), key=tool_rank)

    def find(self, case: str, tool: str) -> Measurement | None:
        """One measurement, with or without samples; None if there is none."""
        return self._newest.get((case, tool))

    def compare(self, case: str, tool: str, reference: str) -> Ratio | None:
        """The ratio `tool` / `reference` from the newest block with both; None if there is no such block."""
        for block in self._newest_blocks:
            upper, lower = (self._in_block.get((block, case, name)) for name in (tool, reference))
            if upper is not None and lower is not None and upper.samples and lower.samples:
                return ratio_of(upper, lower)
        return None


def ratio_of(entry: Measurement, reference: Measurement) -> Ratio | None:
    """The ratio, paired if both have one sample per round; above 1 means that `entry` is worse."""
    upper, lower = costs(entry), costs(reference)
    if entry.kind == "quality":
        # Here a sample is a trial, not a round. The floor is scaled to the tool's number of forward passes.
        if reference.tool == FLOOR:
            if not entry.evaluations or not reference.evaluations:
                return None
            lower = tuple(cost * entry.evaluations / reference.evaluations for cost in lower)
        return unpaired_ratio(upper, lower)
    return paired_ratio(upper, lower) if len(upper) == len(lower) else unpaired_ratio(upper, lower)


def costs(entry: Measurement) -> tuple[float, ...]:
    """The samples as costs, less is better: seconds per image for images per second."""
    return tuple(1 / sample for sample in entry.samples) if entry.unit in RATES else entry.samples


def title_of(tool: str) -> str:
    """`pytorch-grad-cam` for `grad-cam`; a variant keeps the part after the @."""
    base, at, variant = tool.partition("@")
    return TITLES.get(base, base) + at + variant


def tool_rank(entry: Measurement) -> tuple[int, str]:
    return (TOOLS.index(entry.base_tool) if entry.base_tool in TOOLS else len(TOOLS), entry.tool)
