"""What a row of the operators' table can say of one operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import onnx_ir as ir

from onnxplain.exporters.graph.branch import Branch

# ONNX Runtime's own operators.
MICROSOFT = "com.microsoft"

# The standard nodes that a node is made of, emitted into a branch; one value per output, None for one that is not made.
MadeOf = Callable[[Branch, ir.Node], Sequence[ir.Value | None]]


class Places(Enum):
    """Where the entries of a map come to lie in the output."""

    KEPT = auto()
    """Each stays where it was; others may take part, as in a normalization."""
    WINDOW = auto()
    """A window slides over them: stride, padding and dilation tell where each output lies."""
    MOVED = auto()
    """All move together: crops, pads, resizes, other orders of axes."""
    LOST = auto()
    """They are picked by index, sorted, or summed away."""


class Hands(Enum):
    """How an operator hands on its first input without computing anything new."""

    WHOLE = auto()
    """At most in another type."""
    RESHAPED = auto()
    """With the same entries in the same order, in another shape."""
    ROUNDED = auto()
    """As integers of a scale, or back as floats."""


@dataclass(frozen=True)
class Integers:
    """Where an operator has its integers: positions among its inputs.

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
    """One row: all that is known of an operator but its derivative, which is a row of `gradient/rules`.

    `places`: where the entries of a map come to lie; None where the output holds no map. `channels_second`: the first
    input is [N, C, …] by the operator's definition. `hands`: how it hands its input on, None where it computes.
    `broadcasts`: the gradients of its inputs may come in the shape of the output, to be summed to their own.
    `every_output`: its rule looks at the gradients of all outputs; any other operator must be used by its first.
    `control_flow`: it runs graphs of its own. `clamps`: it stops the gradient where a bound is met. `sums`: its output
    is a sum of products, or a mean. `ends_block`: it stands between the blocks of a transformer.

    `weight`: the input that holds the weights of a product. `not_learnt`: inputs that hold floats but no weights.
    `twin`: the standard operator on floats that it computes, if it is a quantized or fused form of one.
    `integers`: where its integers stand. `keeps_integers`: integers come out with the scale they came in with.
    `made_of`: writes it in standard operators.
    """

    name: str
    places: Places | None = None
    domain: str = ""
    channels_second: bool = False
    hands: Hands | None = None
    broadcasts: bool = False
    every_output: bool = False
    control_flow: bool = False
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
