"""The type of a row in the table of operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import onnx_ir as ir

from onnxplain.exporters.graph.branch import Branch

# ONNX Runtime's own operators.
MICROSOFT = "com.microsoft"

# Emits the expansion of a node into a branch; returns one value per output, None for an output that is not computed.
MadeOf = Callable[[Branch, ir.Node], Sequence[ir.Value | None]]


class Places(Enum):
    """Where the entries of a map are placed in the output."""

    KEPT = auto()
    """Each entry keeps its place; others can contribute to its value, as in a normalization."""
    WINDOW = auto()
    """A window slides over the entries; stride, padding and dilation give the place of each output."""
    MOVED = auto()
    """All entries move together: crops, pads, resizes, permuted axes."""
    LOST = auto()
    """Entries are picked by index, sorted, or summed."""


class Hands(Enum):
    """How an operator hands on its first input, that is, returns it without computing anything new."""

    WHOLE = auto()
    """Unchanged, or only cast to another type."""
    RESHAPED = auto()
    """With the same entries in the same order, but in another shape."""
    ROUNDED = auto()
    """Quantized to integers, or dequantized to floats."""


@dataclass(frozen=True)
class Integers:
    """The positions of an operator's integers among its inputs.

    `operands`: quantized operands; None: every third input from the third on. The scale of each stands one place
    behind it in the functions of com.microsoft and in QLinear operators, its zero point two places. `result`: the scale
    of the output, its zero point one place behind. `bias`: integers without a scale of their own. `kept`: inputs that
    the float operator takes as they are, in front of the operands.
    """

    operands: tuple[int, ...] | None = ()
    result: int | None = None
    bias: int | None = None
    kept: tuple[int, ...] = ()

    def operands_of(self, node: ir.Node) -> Sequence[int]:
        """Positions of the quantized operands of this node."""
        return range(2, len(node.inputs), 3) if self.operands is None else self.operands


@dataclass(frozen=True)
class Operator:
    """One row: everything about one operator except its derivative, which is a row of `gradient/rules`.

    `places`: where the entries of a map are placed; None if the output holds no map. `channels_second`: the first
    input is [N, C, …] by the operator's definition. `hands`: how it hands its first input on; None if it computes.
    `broadcasts`: the gradients of its inputs may have the shape of the output and are then summed to the input's.
    `every_output`: its rule uses the gradients of all outputs; of any other operator only the first may be used.
    `control_flow`: it runs subgraphs. `counts_images`: its indices say which image of the batch they mean.
    `constant_rest`: the outputs behind its first count as constants. `clamps`: it stops the gradient at a bound.
    `sums`: its output is a sum of products, or a mean. `ends_block`: it separates the blocks of a transformer.

    `weight`: the input that holds the weights of a product. `not_learnt`: inputs that hold floats but no weights.
    `twin`: the standard operator on floats that it computes, if it is a quantized or fused form of one.
    `integers`: the positions of its integers. `keeps_integers`: its output integers have the scale of its input.
    `made_of`: the function that expands it into standard operators.
    """

    name: str
    places: Places | None = None
    domain: str = ""
    channels_second: bool = False
    hands: Hands | None = None
    broadcasts: bool = False
    every_output: bool = False
    control_flow: bool = False
    counts_images: bool = False
    constant_rest: bool = False
    clamps: bool = False
    sums: bool = False
    ends_block: bool = False
    weight: int | None = None
    not_learnt: tuple[int, ...] = ()
    twin: str | None = None
    integers: Integers | None = None
    keeps_integers: bool = False
    made_of: MadeOf | None = None

    @property
    def computes(self) -> str:
        """The standard operator on floats: its twin, or itself."""
        return self.twin or self.name
