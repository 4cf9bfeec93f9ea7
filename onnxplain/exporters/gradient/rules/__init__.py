"""The vector-Jacobian product of each ONNX operator: one row per operator.

A rule gets the node and the cotangent of its first output (the others are in `Site.cotangents`) and returns one
gradient per input: None for shapes, indices, and weights whose gradient is not needed. It emits forward operators only.
If the operator's row in `operators/table.py` says `broadcasts`, the gradients may have the shape of the output; the
walk sums them to the shape of the input. An operator without a row here is differentiated through its function body in
onnx, if it has one (operators/expansion.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxplain.exporters.gradient.rules import (
    choosing,
    einsum,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    rearranging,
    reduction,
    regions,
    resampling,
    shaping,
)
from onnxplain.exporters.gradient.rules.calculus import CALCULUS
from onnxplain.exporters.gradient.rules.steps import step
from onnxplain.exporters.graph.values import STANDARD
from onnxplain.exporters.operators.site import Gradients, Rule, Site

RULES: Mapping[str, Rule] = {
    **CALCULUS,
    # arithmetic
    "Add": elementwise.add,
    "Sub": elementwise.sub,
    "Mul": elementwise.mul,
    "Div": elementwise.div,
    "Pow": choosing.power,
    "Mod": choosing.modulo,
    "Sum": choosing.sum_of,
    "Mean": choosing.mean_of,
    "Max": choosing.extreme,
    "Min": choosing.extreme,
    "Where": choosing.where,
    # activations that are more than a function of one value
    "Relu": elementwise.relu,
    "PRelu": choosing.prelu,
    "Clip": elementwise.clip,
    "Softmax": elementwise.softmax,
    "LogSoftmax": elementwise.log_softmax,
    # products
    "Conv": linear.conv,
    "ConvTranspose": linear.conv_transpose,
    "Gemm": linear.gemm,
    "MatMul": linear.matmul,
    "Einsum": einsum.einsum,
    "RotaryEmbedding": linear.rotary_embedding,
    # reductions and pools
    "ReduceSum": reduction.reduce_sum,
    "ReduceMean": reduction.reduce_mean,
    "ReduceMax": reduction.reduce_extreme,
    "ReduceMin": reduction.reduce_extreme,
    "ReduceProd": reduction.reduce_prod,
    "ReduceL1": reduction.reduce_l1,
    "ReduceL2": reduction.reduce_l2,
    "ReduceLogSum": reduction.reduce_log_sum,
    "ReduceLogSumExp": reduction.reduce_log_sum_exp,
    "ReduceSumSquare": reduction.reduce_sum_square,
    "AveragePool": pooling.average_pool,
    "MaxPool": pooling.max_pool,
    "LpPool": pooling.lp_pool,
    "GlobalAveragePool": pooling.global_average_pool,
    "GlobalMaxPool": pooling.global_max_pool,
    "GlobalLpPool": pooling.global_lp_pool,
    # normalizations
    "BatchNormalization": normalization.batch_normalization,
    "LayerNormalization": normalization.layer_normalization,
    "InstanceNormalization": normalization.instance_normalization,
    "GroupNormalization": normalization.group_normalization,
    "RMSNormalization": normalization.rms_normalization,
    "LpNormalization": normalization.lp_normalization,
    "LRN": normalization.local_response_normalization,
    # shapes
    "Identity": elementwise.identity,
    "Dropout": elementwise.dropout,
    "Cast": elementwise.cast,
    "Reshape": shaping.reshape,
    "Flatten": shaping.reshape,
    "Squeeze": shaping.reshape,
    "Unsqueeze": shaping.reshape,
    "Transpose": shaping.transpose,
    "Concat": shaping.concat,
    "Split": indexing.split,
    "Expand": indexing.expand,
    "Tile": indexing.tile,
    "DepthToSpace": indexing.depth_to_space,
    "SpaceToDepth": indexing.space_to_depth,
    # picking, placing, resampling
    "Slice": indexing.slice_,
    "Gather": indexing.gather,
    "GatherElements": indexing.gather_elements,
    "GatherND": indexing.gather_nd,
    "ScatterElements": indexing.scatter_elements,
    "ScatterND": indexing.scatter_nd,
    "CumSum": indexing.cum_sum,
    "Trilu": indexing.trilu,
    "Pad": resampling.pad,
    "Resize": resampling.resize,
    "CenterCropPad": rearranging.center_crop_pad,
    "RoiAlign": regions.roi_align,
    "TopK": rearranging.top_k,
    "Compress": rearranging.compress,
    "ReverseSequence": rearranging.reverse_sequence,
    "MaxUnpool": rearranging.max_unpool,
    "Col2Im": rearranging.col2im,
    # quantization, clipped straight-through
    "QuantizeLinear": quantization.quantize_linear,
    "DequantizeLinear": quantization.dequantize_linear,
    "DynamicQuantizeLinear": quantization.dynamic_quantize_linear,
    "ConvInteger": quantization.conv_integer,
    "MatMulInteger": quantization.matmul_integer,
    "QLinearConv": quantization.qlinear_conv,
    "QLinearMatMul": quantization.qlinear_matmul,
    # the gradient is zero, said aloud
    "And": step,
    "ArgMax": step,
    "ArgMin": step,
    "Bernoulli": step,
    "BitShift": step,
    "BitwiseAnd": step,
    "BitwiseNot": step,
    "BitwiseOr": step,
    "BitwiseXor": step,
    "Ceil": step,
    "ConstantOfShape": step,
    "Equal": step,
    "EyeLike": step,
    "Floor": step,
    "Greater": step,
    "GreaterOrEqual": step,
    "Hardmax": step,
    "IsInf": step,
    "IsNaN": step,
    "Less": step,
    "LessOrEqual": step,
    "Multinomial": step,
    "NonMaxSuppression": step,
    "NonZero": step,
    "Not": step,
    "OneHot": step,
    "Or": step,
    "RandomNormalLike": step,
    "RandomUniformLike": step,
    "Range": step,
    "Round": step,
    "Shape": step,
    "Sign": step,
    "Size": step,
    "Unique": step,
    "Xor": step,
}


def rule_of(node: ir.Node) -> Rule | None:
    """The node's rule; None for an operator without one, or for one of the same name in another domain."""
    return RULES.get(node.op_type) if node.domain in STANDARD else None


def is_step(node: ir.Node) -> bool:
    """Whether the gradient is zero by nature. The walk skips such an operator; an error names it if nothing is left."""
    return rule_of(node) is step


__all__ = ["RULES", "Gradients", "Rule", "Site", "is_step", "rule_of", "step"]
