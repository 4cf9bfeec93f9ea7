"""The outputs of a graph as plain values, and the operators at their ends: the same for exporters and the runtime."""

from __future__ import annotations

from dataclasses import dataclass

from onnxplain.contract.heads.graph_end import GraphEnd
from onnxplain.contract.image_input import Dim

FLOAT_OUTPUTS = ("float32", "float16", "float64", "bfloat16")
# Operators that only move or round values. The end of an output is looked for behind them.
_PASSED = frozenset(
    {
        "Cast",
        "Contiguous",
        "DequantizeLinear",
        "Flatten",
        "Identity",
        "QuantizeLinear",
        "Reshape",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
_MOST_ENDS = 10_000


@dataclass(frozen=True)
class GraphOutput:
    """An output: name, type (numpy's name) and dimensions; an open dimension is a name or None, unknown dims are None.

    `ends`: the operators that compute its values (`find_ends`); None where the graph was not read.
    """

    name: str
    dtype: str
    dims: tuple[Dim, ...] | None
    ends: tuple[str, ...] | None = None

    @property
    def shape_text(self) -> str:
        """``output0 [1, 84, 8400]``."""
        sides = "?" if self.dims is None else ", ".join("?" if dim is None else str(dim) for dim in self.dims)
        return f"{self.name} [{sides}]"


@dataclass(frozen=True)
class GraphOutputs:
    """The outputs of a graph, in order; `operators`: those anywhere in it, None where the graph was not read."""

    outputs: tuple[GraphOutput, ...]
    operators: frozenset[str] | None = None


def read_outputs(end: GraphEnd) -> GraphOutputs:
    """The tensors among the outputs of a graph, with the operators that compute them.

    A value that is no tensor, such as a sequence, has a type in brackets or none that is known.
    """
    outputs = tuple(
        GraphOutput(value.name, value.dtype, value.dims, find_ends(end, value.name))
        for value in end.outputs
        if "(" not in value.dtype and value.dtype != "unknown"
    )
    return GraphOutputs(outputs, frozenset(node.operator for node in end.nodes))


def find_ends(end: GraphEnd, output: str) -> tuple[str, ...]:
    """The operators that compute an output, each once, where casts, quantization and moves are looked through.

    Of a Concat each part has its own, in order. An output that is an input or a constant has none. Fused and quantized
    operators go by the name of the operator that they compute, such as Conv for QLinearConv.
    """
    ends: dict[str, None] = {}
    seen: set[str] = set()
    waiting = [output]
    while waiting and len(seen) < _MOST_ENDS:
        value = waiting.pop()
        node = end.producers.get(value)
        if node is None or value in seen or value in end.stored:
            continue
        seen.add(value)
        if node.operator == "Concat":
            # Also of a quantized one, whose scales and zero points are constants.
            waiting.extend(reversed(node.inputs))
        elif node.operator in _PASSED:
            waiting.extend(node.inputs[:1])
        else:
            ends[node.operator] = None
    return tuple(ends)
