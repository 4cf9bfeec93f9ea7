"""The table of operators: one row per operator. The derivative is a row of `gradient/rules`.

An operator without a row and without a rule can still be differentiated through its function body in onnx
(expansion.py). Definitions: Operators.md of onnx, ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

import functools

import onnx_ir as ir

from onnxplain.exporters.graph.values import STANDARD
from onnxplain.exporters.operators import attention, fused, low_bit, sampling
from onnxplain.exporters.operators.operator import MICROSOFT, Hands, Integers, Operator, Places

KEPT, WINDOW, MOVED, LOST = Places.KEPT, Places.WINDOW, Places.MOVED, Places.LOST
# Functions of one quantized operand: inputs are the operand, its scale and zero point, then those of the result.
FROM_ONE = Integers((0,), result=3)

ROWS: tuple[Operator, ...] = (
    # functions of one variable
    Operator("Abs", KEPT),
    Operator("Acos", KEPT),
    Operator("Acosh", KEPT),
    Operator("Asin", KEPT),
    Operator("Asinh", KEPT),
    Operator("Atan", KEPT),
    Operator("Atanh", KEPT),
    Operator("Cos", KEPT),
    Operator("Cosh", KEPT),
    Operator("Elu", KEPT),
    Operator("Erf", KEPT),
    Operator("Exp", KEPT),
    Operator("HardSigmoid", KEPT),
    Operator("HardSwish", KEPT),
    Operator("LeakyRelu", KEPT),
    Operator("Log", KEPT),
    Operator("Neg", KEPT),
    Operator("Reciprocal", KEPT),
    Operator("Selu", KEPT),
    Operator("Sigmoid", KEPT),
    Operator("Sin", KEPT),
    Operator("Sinh", KEPT),
    Operator("Softplus", KEPT),
    Operator("Softsign", KEPT),
    Operator("Sqrt", KEPT),
    Operator("Tan", KEPT),
    Operator("Tanh", KEPT),
    Operator("ThresholdedRelu", KEPT),
    Operator("Relu", KEPT, clamps=True),
    Operator("Clip", KEPT, clamps=True),
    Operator("Softmax", KEPT),
    Operator("LogSoftmax", KEPT),
    # functions with a body in onnx
    Operator("Attention", KEPT),
    Operator("CastLike", KEPT, hands=Hands.WHOLE),
    Operator("Celu", KEPT),
    Operator("Gelu", KEPT),
    Operator("MeanVarianceNormalization", KEPT),
    Operator("Mish", KEPT),
    Operator("Shrink", KEPT),
    Operator("Swish", KEPT),
    # arithmetic and choice
    Operator("Add", KEPT, broadcasts=True),
    Operator("Sub", KEPT, broadcasts=True),
    Operator("Mul", KEPT, broadcasts=True),
    Operator("Div", KEPT, broadcasts=True),
    Operator("Pow", KEPT, broadcasts=True),
    Operator("Mod", KEPT, broadcasts=True),
    Operator("Sum", KEPT, broadcasts=True),
    Operator("Mean", KEPT, broadcasts=True),
    Operator("Max", KEPT, broadcasts=True),
    Operator("Min", KEPT, broadcasts=True),
    Operator("Where", KEPT, broadcasts=True),
    Operator("PRelu", KEPT, broadcasts=True),
    # products
    Operator("Conv", WINDOW, channels_second=True, sums=True, weight=1),
    Operator("ConvTranspose", WINDOW, channels_second=True, weight=1),
    Operator("Gemm", KEPT, broadcasts=True, sums=True, weight=1),
    Operator("MatMul", KEPT, broadcasts=True, sums=True, weight=1),
    Operator("Einsum", LOST),
    Operator("RotaryEmbedding", KEPT),
    # reductions and pools
    Operator("ReduceSum", LOST),
    Operator("ReduceMean", LOST, sums=True),
    Operator("ReduceMax", LOST),
    Operator("ReduceMin", LOST),
    Operator("ReduceProd", LOST),
    Operator("ReduceL1", LOST),
    Operator("ReduceL2", LOST),
    Operator("ReduceLogSum", LOST),
    Operator("ReduceLogSumExp", LOST),
    Operator("ReduceSumSquare", LOST),
    Operator("AveragePool", WINDOW, channels_second=True, sums=True),
    Operator("MaxPool", WINDOW, channels_second=True, keeps_integers=True),
    Operator("LpPool", WINDOW, channels_second=True),
    Operator("GlobalAveragePool", LOST, channels_second=True, sums=True),
    Operator("GlobalMaxPool", LOST, channels_second=True),
    Operator("GlobalLpPool", LOST, channels_second=True),
    # normalizations
    Operator("BatchNormalization", KEPT, channels_second=True, not_learnt=(3, 4)),
    Operator("InstanceNormalization", KEPT, channels_second=True),
    Operator("GroupNormalization", KEPT, channels_second=True),
    Operator("LRN", KEPT, channels_second=True),
    Operator("LayerNormalization", KEPT, ends_block=True),
    Operator("RMSNormalization", KEPT, ends_block=True),
    Operator("SimplifiedLayerNormalization", KEPT, ends_block=True, made_of=fused.simplified_layer_normalization),
    Operator("LpNormalization", KEPT),
    # shapes
    Operator("Identity", KEPT, hands=Hands.WHOLE),
    Operator("Dropout", KEPT, hands=Hands.WHOLE),
    Operator("Cast", KEPT, hands=Hands.WHOLE),
    Operator("Reshape", MOVED, hands=Hands.RESHAPED, keeps_integers=True),
    Operator("Flatten", MOVED, hands=Hands.RESHAPED, keeps_integers=True),
    Operator("Squeeze", MOVED, hands=Hands.RESHAPED, keeps_integers=True),
    Operator("Unsqueeze", MOVED, hands=Hands.RESHAPED, keeps_integers=True),
    Operator("Transpose", MOVED, keeps_integers=True),
    Operator("Concat", MOVED),
    Operator("Expand", MOVED, broadcasts=True),
    Operator("Tile", MOVED),
    Operator("Split", MOVED, every_output=True),
    Operator("DepthToSpace", MOVED, channels_second=True),
    Operator("SpaceToDepth", MOVED, channels_second=True),
    # picking, placing, resampling
    Operator("Slice", MOVED, keeps_integers=True),
    Operator("Gather", LOST),
    Operator("GatherElements", LOST),
    Operator("GatherND", LOST, counts_images=True),
    Operator("ScatterElements", KEPT),
    Operator("ScatterND", KEPT, counts_images=True),
    Operator("CumSum", KEPT),
    Operator("Trilu", KEPT),
    Operator("Pad", MOVED, keeps_integers=True),
    Operator("Resize", MOVED, keeps_integers=True, not_learnt=(1, 2)),
    Operator("Upsample", MOVED, not_learnt=(1,)),
    Operator("RoiAlign", LOST, counts_images=True, not_learnt=(1,)),
    Operator("GridSample", LOST, made_of=sampling.grid_sample),
    Operator("AffineGrid", LOST, made_of=sampling.affine_grid),
    Operator("CenterCropPad", MOVED),
    Operator("TopK", LOST, every_output=True),
    Operator("Compress", LOST),
    Operator("ReverseSequence", LOST),
    Operator("MaxUnpool", LOST),
    Operator("Col2Im", LOST),
    # quantization
    Operator("QuantizeLinear", KEPT, hands=Hands.ROUNDED, integers=Integers(result=1), not_learnt=(1, 2)),
    Operator("DequantizeLinear", KEPT, hands=Hands.ROUNDED, integers=Integers((0,))),
    Operator("DynamicQuantizeLinear", KEPT, every_output=True, constant_rest=True),
    Operator("ConvInteger", WINDOW, channels_second=True, weight=1, twin="Conv", integers=Integers((0, 1))),
    Operator("MatMulInteger", KEPT, weight=1, twin="MatMul", integers=Integers((0, 1))),
    Operator(
        "QLinearConv", WINDOW, channels_second=True, weight=3, twin="Conv", integers=Integers((0, 3), result=6, bias=8)
    ),
    Operator("QLinearMatMul", KEPT, weight=3, twin="MatMul", integers=Integers((0, 3), result=6)),
    # steps, comparisons, positions, sizes
    Operator("And", KEPT),
    Operator("ArgMax", LOST),
    Operator("ArgMin", LOST),
    Operator("Bernoulli", KEPT),
    Operator("BitShift", KEPT),
    Operator("BitwiseAnd", KEPT),
    Operator("BitwiseNot", KEPT),
    Operator("BitwiseOr", KEPT),
    Operator("BitwiseXor", KEPT),
    Operator("Ceil", KEPT),
    Operator("ConstantOfShape"),
    Operator("Equal", KEPT),
    Operator("EyeLike"),
    Operator("Floor", KEPT),
    Operator("Greater", KEPT),
    Operator("GreaterOrEqual", KEPT),
    Operator("Hardmax", KEPT),
    Operator("IsInf", KEPT),
    Operator("IsNaN", KEPT),
    Operator("Less", KEPT),
    Operator("LessOrEqual", KEPT),
    Operator("Multinomial", LOST),
    Operator("NonMaxSuppression", LOST),
    Operator("NonZero", LOST),
    Operator("Not", KEPT),
    Operator("OneHot", LOST, not_learnt=(2,)),
    Operator("Or", KEPT),
    Operator("RandomNormalLike", KEPT),
    Operator("RandomUniformLike", KEPT),
    Operator("Range"),
    Operator("Round", KEPT),
    Operator("Shape"),
    Operator("Sign", KEPT),
    Operator("Size"),
    Operator("Unique", LOST),
    Operator("Xor", KEPT),
    # control flow
    Operator("If", control_flow=True),
    Operator("Loop", control_flow=True),
    Operator("Scan", control_flow=True),
    # ONNX Runtime's fused operators
    Operator("Attention", KEPT, MICROSOFT, weight=1, twin="MatMul", made_of=attention.attention),
    Operator("BiasGelu", KEPT, MICROSOFT, made_of=fused.bias_gelu),
    Operator("ExpandDims", MOVED, MICROSOFT, hands=Hands.RESHAPED, made_of=fused.expand_dims),
    Operator("FastGelu", KEPT, MICROSOFT, made_of=fused.fast_gelu),
    Operator("FusedConv", WINDOW, MICROSOFT, channels_second=True, weight=1, twin="Conv", made_of=fused.fused_conv),
    Operator("FusedGemm", KEPT, MICROSOFT, weight=1, twin="Gemm", made_of=fused.fused_gemm),
    Operator("FusedMatMul", KEPT, MICROSOFT, weight=1, twin="MatMul", made_of=fused.fused_matmul),
    Operator("Gelu", KEPT, MICROSOFT, made_of=fused.gelu),
    Operator("GridSample", LOST, MICROSOFT, made_of=sampling.grid_sample),
    Operator("MatMulNBits", KEPT, MICROSOFT, weight=1, integers=Integers((1,)), made_of=low_bit.matmul_nbits),
    Operator("MultiHeadAttention", KEPT, MICROSOFT, made_of=attention.multi_head_attention),
    Operator("Pad", MOVED, MICROSOFT, made_of=fused.under_standard_name),
    Operator("QuickGelu", KEPT, MICROSOFT, made_of=fused.quick_gelu),
    Operator("SkipLayerNormalization", KEPT, MICROSOFT, ends_block=True, made_of=fused.skip_layer_normalization),
    Operator(
        "SkipSimplifiedLayerNormalization",
        KEPT,
        MICROSOFT,
        ends_block=True,
        made_of=fused.skip_simplified_layer_normalization,
    ),
    Operator("TransposeMatMul", KEPT, MICROSOFT, weight=1, twin="MatMul", made_of=fused.fused_matmul),
    Operator("Trilu", KEPT, MICROSOFT, made_of=fused.under_standard_name),
    # ONNX Runtime's quantized operators
    Operator("QuantizeLinear", KEPT, MICROSOFT, hands=Hands.ROUNDED, integers=Integers(result=1), not_learnt=(1, 2)),
    Operator("DequantizeLinear", KEPT, MICROSOFT, hands=Hands.ROUNDED, integers=Integers((0,))),
    Operator(
        "DynamicQuantizeMatMul",
        KEPT,
        MICROSOFT,
        weight=1,
        integers=Integers((1,)),
        made_of=fused.dynamic_quantize_matmul,
    ),
    Operator(
        "MatMulIntegerToFloat",
        KEPT,
        MICROSOFT,
        weight=1,
        integers=Integers((0, 1)),
        made_of=fused.matmul_integer_to_float,
    ),
    Operator("GatherBlockQuantized", LOST, MICROSOFT, integers=Integers((0,)), made_of=low_bit.gather_block_quantized),
    Operator("NhwcMaxPool", WINDOW, MICROSOFT, keeps_integers=True, made_of=fused.nhwc_max_pool),
    Operator("QAttention", KEPT, MICROSOFT, weight=1, integers=Integers((0, 1)), made_of=attention.quantized_attention),
    Operator("QGemm", KEPT, MICROSOFT, weight=3, twin="Gemm", integers=Integers((0, 3), result=7, bias=6)),
    Operator("QLinearAdd", KEPT, MICROSOFT, twin="Add", integers=Integers((0, 3), result=6)),
    Operator("QLinearAveragePool", WINDOW, MICROSOFT, channels_second=True, twin="AveragePool", integers=FROM_ONE),
    Operator(
        "QLinearConv",
        WINDOW,
        MICROSOFT,
        channels_second=True,
        weight=3,
        twin="Conv",
        integers=Integers((0, 3), result=6, bias=8),
    ),
    Operator("QLinearConcat", MOVED, MICROSOFT, twin="Concat", integers=Integers(None, result=0)),
    Operator(
        "QLinearGlobalAveragePool", LOST, MICROSOFT, channels_second=True, twin="GlobalAveragePool", integers=FROM_ONE
    ),
    Operator("QLinearLeakyRelu", KEPT, MICROSOFT, twin="LeakyRelu", integers=FROM_ONE),
    Operator("QLinearMul", KEPT, MICROSOFT, twin="Mul", integers=Integers((0, 3), result=6)),
    Operator("QLinearSigmoid", KEPT, MICROSOFT, twin="Sigmoid", integers=FROM_ONE),
    Operator("QLinearSoftmax", KEPT, MICROSOFT, twin="Softmax", integers=FROM_ONE),
    Operator("QLinearWhere", KEPT, MICROSOFT, twin="Where", integers=Integers((1, 4), result=7, kept=(0,))),
)

OPERATORS = {(row.domain, row.name): row for row in ROWS}


@functools.lru_cache(maxsize=4096)
def look_up(domain: str, name: str) -> Operator:
    """The operator's row; an empty row if it has none."""
    domain = "" if domain in STANDARD else domain
    return OPERATORS.get((domain, name)) or Operator(name, domain=domain)


def operator_of(node: ir.Node) -> Operator:
    """The row of the node's operator."""
    return look_up(node.domain, node.op_type)


def hands_on(node: ir.Node, *ways: Hands) -> bool:
    """Whether the node hands its first input on in one of these ways (see `Hands`)."""
    return operator_of(node).hands in ways
