"""What the checks know about operators: one row per operator, taken from the operators' specifications.

The specifications are docs/Operators.md of onnx and, for the domain com.microsoft, docs/ContribOperators.md of ONNX
Runtime. The checks share no table with the gradient rules that they check; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from onnxplain.exporters.graph.values import int_attribute


def _stated_axis(node: ir.Node) -> int:
    return int_attribute(node, "axis", 1)


def _output_channels(node: ir.Node) -> int:
    return 0


def _rows(node: ir.Node) -> int:
    return -2


def _columns(node: ir.Node) -> int:
    return -2 if int_attribute(node, "transB", 0) else -1


@dataclass(frozen=True)
class Operand:
    """An operand of a quantized operator: the positions of its integers, scale and zero point among the inputs.

    None: the operator has no such input. `axis`: the axis of the integers along which a vector of scales applies.
    """

    integers: int
    scale: int | None = None
    zero: int | None = None
    axis: Callable[[ir.Node], int] = _stated_axis


@dataclass(frozen=True)
class QuantizedForm:
    """What a quantized operator computes: result = round(twin(dequantized operands) / scale) + zero point.

    `twin` is a standard operator on floats. `repeats`: further operands follow the last, each three inputs behind the
    one before. `result_scale` is the position of the scale among the inputs, `computed_scale` among the outputs of an
    operator that chooses its scale itself. Where both are None the result is not rounded: it is that of the twin.
    `domain`: of the twin, and `behind`: inputs that the twin takes as they are, behind the operands.
    `around_the_run`: it rounds a float operand itself, or adds a bias that the twin lacks: a change is added to the
    result of the run. `kept`: inputs that the twin takes as they are, in front of the
    operands. `channels_last`: maps are [N, h, w, C]; other operators say so by an attribute of that name.
    """

    twin: str
    operands: tuple[Operand, ...]
    result_scale: int | None = None
    computed_scale: int | None = None
    repeats: bool = False
    around_the_run: bool = False
    kept: tuple[int, ...] = ()
    channels_last: bool = False
    domain: str = ""
    behind: tuple[int, ...] = ()

    @property
    def is_rounded(self) -> bool:
        """Whether the result is not that of the twin: rounded, or around the one of the run."""
        return self.result_scale is not None or self.computed_scale is not None or self.around_the_run

    def operands_of(self, node: ir.Node) -> tuple[Operand, ...]:
        """The quantized operands of the node."""
        if not self.repeats:
            return self.operands
        first = self.operands[-1].integers
        further = (Operand(start, start + 1, start + 2) for start in range(first + 3, len(node.inputs), 3))
        return (*self.operands, *further)


@dataclass(frozen=True)
class OperatorFacts:
    """One operator.

    `gates`: it stops the gradient of some values, which may be others after a small step: those below zero, those that
    are not the largest, integers at an end of their range. `in_integers`: it rounds to integers or computes with them.
    `form`: what a quantized operator computes; None for a float operator, and for a quantized one without a gradient.
    `packs_weights`: it multiplies by weights of a few bits, several in a byte. `product`: what it computes before an
    activation that is a part of it. `chooses`: it returns indices; in the checks these are the indices of the run.
    """

    gates: bool = False
    in_integers: bool = False
    form: QuantizedForm | None = None
    packs_weights: bool = False
    product: str | None = None
    chooses: bool = False


# Smallest and largest integer (QuantizeLinear, "saturation is done according to").
RANGES: Mapping[ir.DataType, tuple[int, int]] = {
    ir.DataType.UINT2: (0, 3),
    ir.DataType.INT2: (-2, 1),
    ir.DataType.UINT4: (0, 15),
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT16: (0, 65535),
    ir.DataType.INT16: (-32768, 32767),
}


def _saturating(form: QuantizedForm) -> OperatorFacts:
    return OperatorFacts(gates=True, in_integers=True, form=form)


def _unary(twin: str) -> OperatorFacts:
    """Inputs: X, scale, zero point, scale and zero point of the result."""
    return _saturating(QuantizedForm(twin, (Operand(0, 1, 2),), result_scale=3))


def _binary(twin: str) -> OperatorFacts:
    """Inputs: A, scale, zero point, B, scale, zero point, scale and zero point of the result."""
    return _saturating(QuantizedForm(twin, (Operand(0, 1, 2), Operand(3, 4, 5)), result_scale=6))


_GATE = OperatorFacts(gates=True)
_WITHOUT_A_GRADIENT = OperatorFacts(in_integers=True)

FACTS: Mapping[str, OperatorFacts] = {
    "Abs": _GATE,
    "Clip": _GATE,
    "Elu": _GATE,
    "GlobalMaxPool": _GATE,
    "HardSigmoid": _GATE,
    "HardSwish": _GATE,
    "LeakyRelu": _GATE,
    "Max": _GATE,
    "MaxPool": _GATE,
    "Min": _GATE,
    "PRelu": _GATE,
    "ReduceL1": _GATE,
    "ReduceMax": _GATE,
    "ReduceMin": _GATE,
    "Relu": _GATE,
    "RoiAlign": _GATE,
    "Selu": _GATE,
    "Shrink": _GATE,
    "ThresholdedRelu": _GATE,
    "TopK": OperatorFacts(gates=True, chooses=True),
    # What they choose after a small step may be something else, and is no part of a derivative.
    "ArgMax": OperatorFacts(chooses=True),
    "ArgMin": OperatorFacts(chooses=True),
    "NonMaxSuppression": OperatorFacts(chooses=True),
    "NonZero": OperatorFacts(chooses=True),
    # com.microsoft, where the activation may be one of those
    "FusedConv": OperatorFacts(gates=True, product="Conv"),
    "FusedGemm": OperatorFacts(gates=True, product="Gemm"),
    # onnx
    "ConvInteger": OperatorFacts(
        in_integers=True,
        form=QuantizedForm("Conv", (Operand(0, zero=2), Operand(1, zero=3, axis=_output_channels))),
    ),
    "DequantizeLinear": OperatorFacts(form=QuantizedForm("Identity", (Operand(0, 1, 2),))),
    "DynamicQuantizeLinear": OperatorFacts(
        # It takes its range from the values themselves, so no value lies outside.
        in_integers=True,
        form=QuantizedForm("Identity", (Operand(0),), computed_scale=1),
    ),
    "MatMulInteger": OperatorFacts(
        in_integers=True,
        form=QuantizedForm("MatMul", (Operand(0, zero=2, axis=_rows), Operand(1, zero=3, axis=_columns))),
    ),
    "QLinearConv": _saturating(
        QuantizedForm("Conv", (Operand(0, 1, 2), Operand(3, 4, 5, _output_channels)), result_scale=6)
    ),
    "QLinearMatMul": _saturating(
        QuantizedForm("MatMul", (Operand(0, 1, 2, _rows), Operand(3, 4, 5, _columns)), result_scale=6)
    ),
    "QuantizeLinear": _saturating(QuantizedForm("Identity", (Operand(0),), result_scale=1)),
    # com.microsoft
    "DynamicQuantizeMatMul": OperatorFacts(
        in_integers=True, form=QuantizedForm("MatMul", (Operand(0), Operand(1, 2, 3, _columns)), around_the_run=True)
    ),
    "MatMulIntegerToFloat": OperatorFacts(
        in_integers=True,
        form=QuantizedForm("MatMul", (Operand(0, 2, 4, _rows), Operand(1, 3, 5, _columns)), around_the_run=True),
    ),
    "GatherBlockQuantized": OperatorFacts(in_integers=True),
    "MatMulNBits": OperatorFacts(in_integers=True, packs_weights=True),
    "NhwcMaxPool": OperatorFacts(
        gates=True, in_integers=True, form=QuantizedForm("MaxPool", (Operand(0),), channels_last=True)
    ),
    "QAttention": OperatorFacts(
        in_integers=True,
        form=QuantizedForm(
            "Attention", (Operand(0, 3, 6), Operand(1, 4, 7, _columns)), domain="com.microsoft", behind=(2,)
        ),
    ),
    "QGemm": _saturating(QuantizedForm("Gemm", (Operand(0, 1, 2), Operand(3, 4, 5, _columns)), result_scale=7)),
    "QLinearAdd": _binary("Add"),
    "QLinearAveragePool": _unary("AveragePool"),
    "QLinearConcat": _saturating(QuantizedForm("Concat", (Operand(2, 3, 4),), result_scale=0, repeats=True)),
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearLeakyRelu": _unary("LeakyRelu"),
    "QLinearMul": _binary("Mul"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearSoftmax": _unary("Softmax"),
    "QLinearWhere": _saturating(
        QuantizedForm("Where", (Operand(1, 2, 3), Operand(4, 5, 6)), result_scale=7, kept=(0,))
    ),
    # com.microsoft, found before a layer only: behind one they are refused
    "DynamicQuantizeLSTM": _WITHOUT_A_GRADIENT,
    "MatMulInteger16": _WITHOUT_A_GRADIENT,
    "MulInteger": _WITHOUT_A_GRADIENT,
    "QLinearConvTranspose": _WITHOUT_A_GRADIENT,
    "QLinearReduceMean": _WITHOUT_A_GRADIENT,
    "QuantizeBFP": _WITHOUT_A_GRADIENT,
    "QuantizeWithOrder": _WITHOUT_A_GRADIENT,
    "ReduceSumInteger": _WITHOUT_A_GRADIENT,
}

_FLOAT_OPERATOR = OperatorFacts()


def facts_of(operator: str) -> OperatorFacts:
    """The operator's row; an operator without a row counts as a float operator without a gate."""
    return FACTS.get(operator, _FLOAT_OPERATOR)


def rounds(proto: onnx.ModelProto) -> bool:
    """Whether the graph computes in float16 or in integers."""
    narrow = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer)
    return narrow or any(facts_of(node.op_type).in_integers for node in proto.graph.node)
