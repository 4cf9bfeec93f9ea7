"""The quantization of an image input of integers: which real value an integer stands for.

Exporters and runtime read names and constants of the graph, each in its own way. Both ask `find_quantization`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from onnxplain.contract.choices import check_choice
from onnxplain.errors import ModelError, OnnxplainError

if TYPE_CHECKING:
    from onnxplain.contract.preprocessing import Preprocessing

IntegerType = Literal["uint8", "int8"]
INTEGER_LIMITS: Mapping[str, tuple[int, int]] = {"uint8": (0, 255), "int8": (-128, 127)}

# Operators that say of an input of theirs: the positions at which integers can stand; scale and zero point follow them.
QUANTIZED_OPERANDS: Mapping[str, Collection[int]] = {
    "DequantizeLinear": (0,),
    "QGemm": (0, 3),
    "QLinearAdd": (0, 3),
    "QLinearAveragePool": (0,),
    "QLinearConcat": range(2, 2 + 3 * 64, 3),
    "QLinearConv": (0,),
    "QLinearGlobalAveragePool": (0,),
    "QLinearLeakyRelu": (0,),
    "QLinearMatMul": (0, 3),
    "QLinearMul": (0, 3),
    "QLinearReduceMean": (0,),
    "QLinearSigmoid": (0,),
    "QLinearSoftmax": (0,),
    "QLinearWhere": (1, 4),
}
# These keep every value; scale and zero point of their input are those of their output.
_MOVES = frozenset(
    ("DepthToSpace", "Flatten", "Identity", "Reshape", "Slice", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze")
)
_READ_NO_VALUES = frozenset(("Shape", "Size"))
# A preprocessing that does not belong to the quantization: most of its values are clipped, or they are too few.
_LEAST_INSIDE = 0.5
_FEWEST_STEPS = 8


@dataclass(frozen=True)
class Quantization:
    """An integer q of type `dtype` stands for the real value ``(q − zero_point) · scale``."""

    scale: float
    zero_point: int
    dtype: IntegerType

    def __post_init__(self) -> None:
        check_choice("quantization type", self.dtype, IntegerType)
        lowest, highest = INTEGER_LIMITS[self.dtype]
        if not (math.isfinite(self.scale) and self.scale > 0 and lowest <= self.zero_point <= highest):
            raise ModelError(
                f"quantization: found scale {self.scale} and zero point {self.zero_point}, expected a "
                f"positive scale and a zero point of {self.dtype}: export the model again"
            )

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest real value."""
        lowest, highest = INTEGER_LIMITS[self.dtype]
        return (lowest - self.zero_point) * self.scale, (highest - self.zero_point) * self.scale

    def real(self, preprocessing: Preprocessing) -> Preprocessing:
        """A preprocessing that gives integers, changed so that it gives the real values which they stand for."""
        mean = tuple(
            (each + self.zero_point * std) * self.scale
            for each, std in zip(preprocessing.mean, preprocessing.std, strict=True)
        )
        return replace(preprocessing, scale=preprocessing.scale * self.scale, mean=mean)

    def holds(self, preprocessing: Preprocessing) -> bool:
        """Whether these integers can hold the real values.

        They cannot where more than half of their range is clipped, or falls on fewer than eight integers. Native pixels
        can be of any range.
        """
        first, last = preprocessing.limits
        inside = min(last, self.limits[1]) - max(first, self.limits[0])
        fits = inside >= _LEAST_INSIDE * (last - first) and inside >= _FEWEST_STEPS * self.scale
        return fits or preprocessing.pixels == "native"

    def check(self, preprocessing: Preprocessing) -> None:
        """Raises OnnxplainError for real values that these integers cannot hold."""
        if self.holds(preprocessing):
            return
        (first, last), (lowest, highest) = preprocessing.limits, self.limits
        raise OnnxplainError(
            f"preprocessing: found real values from {first:.4g} to {last:.4g}, expected values from {lowest:.4g} to "
            f"{highest:.4g} as the quantization of the input ({self}) holds them: state the preprocessing that the "
            "model was quantized with, or --preset raw, which feeds the pixels as integers"
        )

    def __str__(self) -> str:
        return f"{self.dtype}, scale {self.scale:.6g}, zero point {self.zero_point}"


class NamedNode(Protocol):
    """A node as its operator and the names of its values."""

    @property
    def operator(self) -> str:
        """The operator's name, without its domain."""

    @property
    def inputs(self) -> Sequence[str]:
        """The names of its inputs; empty for one that is left out."""

    @property
    def outputs(self) -> Sequence[str]:
        """The names of its outputs."""


def find_quantization(
    image: str, dtype: str, nodes: Iterable[NamedNode], scalars: Mapping[str, float]
) -> Quantization | None:
    """The quantization of the graph input `image`; None where it has none.

    It has one where its type is uint8 or int8, and every operator that reads its values states the same constant scale
    and zero point. What only moves values, such as Transpose, may stand between. `scalars`: the graph's constants of
    one element, by name. A scale per channel is none of them.
    """
    integers: dict[str, IntegerType] = {"uint8": "uint8", "int8": "int8"}
    if dtype not in integers:
        return None
    names, found = {image}, set()
    for node in nodes:
        read = [position for position, name in enumerate(node.inputs) if name in names]
        if not read or node.operator in _READ_NO_VALUES:
            continue
        if node.operator in _MOVES and read == [0]:
            names.update(node.outputs)
            continue
        for position in read:
            found.add(_stated_at(node, position, scalars))
    if len(found) != 1:
        return None
    (stated,) = found
    return None if stated is None else Quantization(*stated, integers[dtype])


def _stated_at(node: NamedNode, position: int, scalars: Mapping[str, float]) -> tuple[float, int] | None:
    """Scale and zero point that a node states for its input at that position."""
    if position not in QUANTIZED_OPERANDS.get(node.operator, ()):
        return None
    scale_name, zero_name = (*node.inputs[position + 1 : position + 3], "", "")[:2]
    scale = scalars.get(scale_name)
    zero = scalars.get(zero_name) if zero_name else 0
    return None if scale is None or zero is None else (scale, int(zero))
