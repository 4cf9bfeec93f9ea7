"""What a model answers with: the kinds of heads, their numbering, and how a graph's end tells them."""

from onnxplain.contract.heads.found import (
    FoundHead,
    FoundHeads,
    FoundOutput,
    OutputFault,
    ReadKind,
    StatedHead,
    UnusedOutput,
)
from onnxplain.contract.heads.graph_end import EndNode, EndValue, GraphEnd
from onnxplain.contract.heads.numbering import PREDICTED, Entry, Numbering, default_head, order_heads
from onnxplain.contract.heads.spec import (
    BOX_COORDINATES,
    BoxSpec,
    Evidence,
    EvidenceKind,
    HeadKind,
    HeadSpec,
    ScoreForm,
)
from onnxplain.contract.heads.stated import GivenHeads, GivenLabels, labels_by_head, read_stated, stated_default
from onnxplain.contract.heads.telling import tell_heads

__all__ = [
    "BOX_COORDINATES",
    "PREDICTED",
    "BoxSpec",
    "EndNode",
    "EndValue",
    "Entry",
    "Evidence",
    "EvidenceKind",
    "FoundHead",
    "FoundHeads",
    "FoundOutput",
    "GivenHeads",
    "GivenLabels",
    "GraphEnd",
    "HeadKind",
    "HeadSpec",
    "Numbering",
    "OutputFault",
    "ReadKind",
    "ScoreForm",
    "StatedHead",
    "UnusedOutput",
    "default_head",
    "labels_by_head",
    "order_heads",
    "read_stated",
    "stated_default",
    "tell_heads",
]
