"""What was told about the outputs of a graph: its heads, the outputs that are none, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from onnxplain.contract.heads.graph_end import EndValue
from onnxplain.contract.heads.spec import Evidence, HeadKind, ScoreForm

Activation = Literal["softmax", "sigmoid", "l2"]


@dataclass(frozen=True)
class StatedHead:
    """What the user says: an output, or any value of the graph, is a head; of that kind unless it is None.

    The kind "none": the output is no head.
    """

    name: str
    kind: HeadKind | Literal["none"] | None = None


@dataclass(frozen=True)
class ReadKind:
    """The kind that another tool's metadata say, and where."""

    kind: HeadKind
    source: str


@dataclass(frozen=True)
class FoundOutput:
    """An output that belongs to a head.

    `holds`: "source", what is differentiated; "scores", probabilities stored in `form`; "picked", only the best of
    them, or their indices.
    """

    name: str
    holds: Literal["source", "scores", "picked"]
    form: ScoreForm = field(default_factory=ScoreForm)


@dataclass(frozen=True)
class FoundHead:
    """A head at the end of a graph.

    `source` names the value that is differentiated: the input of the Softmax, the Sigmoid or the normalisation, else
    the answer itself. `size`: C, L, K, 4 or D; None where the graph does not say it. `map_size_hw`, `channel_axis`: for
    a mask, of the source. `activation`: what lies between the source and the answer. `sigmoid`: the classes of a mask
    are independent. `outputs`: the outputs that carry it.
    """

    name: str
    kind: HeadKind
    size: int | None
    source: str
    evidence: Evidence
    outputs: tuple[FoundOutput, ...]
    map_size_hw: tuple[int, int] | None = None
    channel_axis: int = 1
    activation: Activation | None = None
    sigmoid: bool = False

    def first(self, holds: Literal["source", "scores", "picked"]) -> FoundOutput | None:
        """The first output that holds this."""
        return next((output for output in self.outputs if output.holds == holds), None)


class OutputFault(Enum):
    """Why an output is no head. The value says it; {detail} is the operator, the output or the kinds in question."""

    SHAPE = "its shape is that of no answer that is known"
    OPEN = "some of its sizes are open: give --size HxW, or export it with fixed sizes"
    MAP = "it is a map without Softmax, Sigmoid or ArgMax: if it is a mask, state --head {name}:mask"
    LEADS = "{detail} is computed from it: features, unless you state --head {name}:KIND"
    HIDDEN = "{detail} comes before it, followed by a step that is not known: state --head {name}:KIND"
    KINDS = "the graph says that it is {detail}: state --head {name}:KIND"
    BOX_OR = "it may be {detail}: state --head {name}:box, or --head {name}:KIND"
    DETECTIONS = "it looks like one row per candidate of a detector, beside {detail}"
    TYPE = "it holds no numbers that can be differentiated"
    PICKED = "it holds only what {detail} picks: instrument the file first, which adds the logits"
    ROUNDED = "it holds integers: instrument the file first, which adds {detail} as floats"
    STATED = "stated as {detail}, which needs another shape"
    UNKNOWN = "not found in the graph"
    OTHER_SIZE = "one file explains embeddings or masks of one size, that of {detail}: to use it, state {detail}:none"
    LEFT_OUT = "stated as no head"
    AFTER = "it is computed from {detail} without weights: if it is an answer of its own, state --head {name}:KIND"

    @property
    def refuses(self) -> bool:
        """Whether a file with such an output is refused, though it has other heads."""
        return self in (OutputFault.BOX_OR, OutputFault.KINDS, OutputFault.STATED, OutputFault.UNKNOWN)


@dataclass(frozen=True)
class UnusedOutput:
    """An output that is no head, and why."""

    value: EndValue
    fault: OutputFault
    detail: str = ""

    def __str__(self) -> str:
        reason = self.fault.value.format(name=self.value.name, detail=self.detail)
        return f"{self.value.name} {self.value.shape_text}: {reason}"


@dataclass(frozen=True)
class FoundHeads:
    """The heads in the order of the outputs, and the outputs that are none."""

    heads: tuple[FoundHead, ...]
    unused: tuple[UnusedOutput, ...] = ()

    @property
    def refused(self) -> tuple[UnusedOutput, ...]:
        """The outputs for which the file is refused: all of them where no head was found."""
        return tuple(output for output in self.unused if output.fault.refuses or not self.heads)
