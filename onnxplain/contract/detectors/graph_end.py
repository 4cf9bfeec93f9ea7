"""The outputs of a graph as plain values, and the operators at their ends: the same for exporters and the runtime."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
# Of a quantized Concat each part has three inputs, behind scale and zero point of the result.
_JOINED: Mapping[str, slice] = {"Concat": slice(None), "QLinearConcat": slice(2, None, 3)}
_FUSED = re.compile(r"^(QLinear|Fused|Quick)")
_MOST_ENDS = 10_000

PlainNode = tuple[str, Sequence[str], Sequence[str]]
"""A node: its operator, and the names of its inputs and outputs."""


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
class GraphEnd:
    """The outputs of a graph, in order; `operators`: those anywhere in it, None where the graph was not read."""

    outputs: tuple[GraphOutput, ...]
    operators: frozenset[str] | None = None


def find_ends(nodes: Iterable[PlainNode], outputs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The operators that compute each output, each once, where casts, quantization and moves are looked through.

    Of a Concat each part has its own, in order. An output that is an input or a constant has none. Fused and quantized
    operators go by the name of the operator that they compute, such as Conv for QLinearConv.
    """
    makers = {value: (operator, inputs) for operator, inputs, values in nodes for value in values if value}
    return {output: _ends(makers, output) for output in outputs}


def _ends(makers: Mapping[str, tuple[str, Sequence[str]]], output: str) -> tuple[str, ...]:
    ends: dict[str, None] = {}
    seen: set[str] = set()
    waiting = [output]
    while waiting and len(seen) < _MOST_ENDS:
        value = waiting.pop()
        if value in seen or value not in makers:
            continue
        seen.add(value)
        operator, inputs = makers[value]
        if operator in _JOINED:
            waiting.extend(reversed(inputs[_JOINED[operator]]))
        elif operator in _PASSED:
            waiting.extend(inputs[:1])
        else:
            ends[_FUSED.sub("", operator)] = None
    return tuple(ends)
