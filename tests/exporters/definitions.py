"""What onnx's reference evaluator lacks, rounds to float32 or gets wrong, in the precision of the input.

Of the standard operators PyTorch's; of ONNX Runtime's fused ones their documentation (docs/ContribOperators.md there).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from onnx.reference.op_run import OpRun
from scipy.special import erf, expit

MICROSOFT = "com.microsoft"
functional = torch.nn.functional


def _tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(array) for array in arrays]


def _gelu(x: np.ndarray, approximate: str = "none", **_: Any) -> np.ndarray:
    return functional.gelu(*_tensors(x), approximate=approximate).numpy()


def _global_max_pool(x: np.ndarray) -> np.ndarray:
    return np.asarray(x.max(axis=tuple(range(2, x.ndim)), keepdims=True))


def _global_lp_pool(x: np.ndarray, p: int) -> np.ndarray:
    return np.asarray((np.abs(x) ** p).sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / p))


def _group_normalization(
    x: np.ndarray, scale: np.ndarray, bias: np.ndarray, num_groups: int, epsilon: float, **_: Any
) -> np.ndarray:
    image, gamma, beta = _tensors(x, scale, bias)
    return functional.group_norm(image, num_groups, gamma, beta, epsilon).numpy()


def _lp_normalization(x: np.ndarray, axis: int, p: int) -> np.ndarray:
    return np.asarray(x / np.linalg.norm(x, p, axis, keepdims=True))


def _lrn(x: np.ndarray, size: int, alpha: float, beta: float, bias: float) -> np.ndarray:
    return functional.local_response_norm(*_tensors(x), size, alpha, beta, bias).numpy()


def _mean_variance_normalization(x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    return np.asarray((x - x.mean(tuple(axes), keepdims=True)) / (x.std(tuple(axes), keepdims=True) + 1e-9))


def _fast_gelu(x: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    return _gelu(x + bias, "tanh")


def _quick_gelu(x: np.ndarray, alpha: float = 1.702) -> np.ndarray:
    return np.asarray(x * expit(alpha * x))


def _skip_layer_normalization(
    x: np.ndarray,
    skip: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray | float = 0.0,
    bias: np.ndarray | float = 0.0,
    epsilon: float = 1e-12,
) -> tuple[np.ndarray, ...]:
    total = x + skip + bias
    mean, inverse = total.mean(-1, keepdims=True), 1 / np.sqrt(total.var(-1, keepdims=True) + epsilon)
    return (total - mean) * inverse * gamma + beta, mean, inverse, total


def _fused_matmul(
    a: np.ndarray,
    b: np.ndarray,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> np.ndarray:
    left, right = (np.moveaxis(x, 0, -2) if flag else x for x, flag in ((a, transBatchA), (b, transBatchB)))
    left, right = (x.swapaxes(-1, -2) if flag else x for x, flag in ((left, transA), (right, transB)))
    return np.asarray(alpha * (left @ right))


ACTIVATIONS: Mapping[str, Callable[..., np.ndarray]] = {
    "": lambda y: y,
    "Relu": lambda y: np.maximum(y, 0),
    "Tanh": np.tanh,
    "Sigmoid": expit,
    "LeakyRelu": lambda y, alpha: np.where(y >= 0, y, alpha * y),
    "Clip": np.clip,
    "HardSigmoid": lambda y, alpha, beta: np.clip(alpha * y + beta, 0, 1),
    "Elu": lambda y, alpha: np.where(y > 0, y, alpha * np.expm1(y)),
    "Selu": lambda y, alpha, gamma: gamma * np.where(y > 0, y, alpha * np.expm1(y)),
    "Softplus": lambda y: np.log1p(np.exp(y)),
    "Softsign": lambda y: y / (1 + np.abs(y)),
    "ThresholdedRelu": lambda y, alpha: np.where(y > alpha, y, 0),
}


def _fused_conv(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    z: np.ndarray | float = 0.0,
    activation: str = "",
    activation_params: Sequence[float] = (),
    pads: Sequence[int] = (0, 0, 0, 0),
    strides: Sequence[int] = (1, 1),
    group: int = 1,
) -> np.ndarray:
    top, left, bottom, right = pads
    image, weight, *bias = _tensors(*(array for array in (x, w, b) if array is not None))
    padded = functional.pad(image, (left, right, top, bottom))
    y = functional.conv2d(padded, weight, *bias, stride=tuple(strides), groups=group).numpy()
    return ACTIVATIONS[activation](y + z, *activation_params)


def _fused_gemm(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, activation: str, alpha: float, beta: float, transB: int, **more: Any
) -> np.ndarray:
    y = alpha * (a @ (b.T if transB else b)) + beta * c
    parameters = [more[f"activation_{name}"] for name in ("alpha", "beta", "gamma") if f"activation_{name}" in more]
    return ACTIVATIONS[activation](y, *parameters)


def _attended(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, scale: float | None, added: np.ndarray | float = 0.0
) -> np.ndarray:
    """PyTorch's attention of [N, heads, tokens, size], heads side by side again."""
    mask = torch.tensor(np.broadcast_to(added, (*query.shape[:3], key.shape[2])).copy())
    y = functional.scaled_dot_product_attention(*_tensors(query, key, value), attn_mask=mask, scale=scale).numpy()
    return np.asarray(y.swapaxes(1, 2).reshape(len(y), y.shape[2], -1))


def _heads(x: np.ndarray, num_heads: int) -> np.ndarray:
    return x if x.ndim == 4 else x.reshape(*x.shape[:2], num_heads, -1).swapaxes(1, 2)


def _multi_head_attention(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    bias: np.ndarray | None = None,
    mask: None = None,
    added: np.ndarray | None = None,
    num_heads: int = 1,
    scale: float | None = None,
) -> np.ndarray:
    operands = [query, key, value]
    if bias is not None:
        cuts = np.cumsum([query.shape[-1], key.shape[-1]])
        operands = [x + part for x, part in zip(operands, np.split(bias, cuts), strict=True)]
    return _attended(*(_heads(x, num_heads) for x in operands), scale, 0.0 if added is None else added)


def _attention(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    mask: None = None,
    past: None = None,
    added: np.ndarray | None = None,
    num_heads: int = 1,
    scale: float | None = None,
    qkv_hidden_sizes: Sequence[int] = (),
) -> np.ndarray:
    sizes = list(qkv_hidden_sizes) or [weights.shape[1] // 3] * 3
    parts = np.split(x @ weights + bias, np.cumsum(sizes)[:2], axis=-1)
    return _attended(*(_heads(part, num_heads) for part in parts), scale, 0.0 if added is None else added)


def _bits_of(packed: np.ndarray, bits: int) -> np.ndarray:
    """The integers of bytes, the lowest bits first."""
    by_bit = np.unpackbits(packed, axis=-1, bitorder="little").reshape(*packed.shape[:-1], -1, bits)
    return np.asarray((by_bit * 2 ** np.arange(bits)).sum(-1))


def _matmul_nbits(
    x: np.ndarray,
    packed: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray | None = None,
    groups: None = None,
    bias: np.ndarray | float = 0.0,
    K: int = 0,
    N: int = 0,
    bits: int = 4,
    block_size: int = 16,
) -> np.ndarray:
    count = -(-K // block_size)
    if zeros is None:
        zeros = np.full((N, count), 2.0 ** (bits - 1))
    elif zeros.dtype == np.uint8:
        zeros = _bits_of(zeros, bits)[:, :count]
    weight = (_bits_of(packed, bits) - zeros[..., None]) * scales[..., None]
    return np.asarray(x @ weight.reshape(N, -1)[:, :K].T + bias)


def _gather_block_quantized(
    data: np.ndarray,
    indices: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray | None = None,
    bits: int = 4,
    block_size: int = 128,
    quantize_axis: int = 1,
    gather_axis: int = 0,
) -> np.ndarray:
    packed = data.dtype == np.uint8
    numbers = _bits_of(data, bits) if packed else data.astype(np.int64)
    if zeros is None:
        centres = np.full(scales.shape, 2 ** (bits - 1) if packed else 0)
    else:
        centres = _bits_of(zeros, bits)[..., : scales.shape[-1]] if packed else zeros.astype(np.int64)
    table = np.zeros(numbers.shape)
    for place in np.ndindex(*numbers.shape):
        block = list(place)
        block[quantize_axis] //= block_size
        table[place] = (numbers[place] - centres[tuple(block)]) * scales[tuple(block)]
    return table.take(indices, gather_axis)


def _simplified_layer_normalization(
    x: np.ndarray, gamma: np.ndarray, axis: int = -1, epsilon: float = 1e-5
) -> np.ndarray:
    axes = tuple(range(axis % x.ndim, x.ndim))
    return np.asarray(x / np.sqrt((x**2).mean(axes, keepdims=True) + epsilon) * gamma)


def _skip_simplified(
    x: np.ndarray, skip: np.ndarray, gamma: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray | None, ...]:
    total = x + skip + bias
    return _simplified_layer_normalization(total, gamma), total, total, total


def _grid_sample(x: np.ndarray, grid: np.ndarray, mode: str = "linear", **attributes: Any) -> np.ndarray:
    padding, aligned = attributes.get("padding_mode", "zeros"), bool(attributes.get("align_corners", 0))
    name = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    return functional.grid_sample(*_tensors(x, grid), name, padding, aligned).numpy()


FUNCTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("", "Erf"): erf,
    ("", "GatherElements"): np.take_along_axis,
    ("", "Gelu"): _gelu,
    ("", "GlobalLpPool"): _global_lp_pool,
    ("", "GlobalMaxPool"): _global_max_pool,
    ("", "GridSample"): _grid_sample,
    ("", "GroupNormalization"): _group_normalization,
    ("", "LpNormalization"): _lp_normalization,
    ("", "LRN"): _lrn,
    ("", "MeanVarianceNormalization"): _mean_variance_normalization,
    ("", "SimplifiedLayerNormalization"): _simplified_layer_normalization,
    (MICROSOFT, "Attention"): _attention,
    (MICROSOFT, "BiasGelu"): lambda x, bias: _gelu(x + bias),
    (MICROSOFT, "ExpandDims"): lambda x, axis: np.expand_dims(x, int(axis)),
    (MICROSOFT, "FastGelu"): _fast_gelu,
    (MICROSOFT, "FusedConv"): _fused_conv,
    (MICROSOFT, "FusedGemm"): _fused_gemm,
    (MICROSOFT, "FusedMatMul"): _fused_matmul,
    (MICROSOFT, "GatherBlockQuantized"): _gather_block_quantized,
    (MICROSOFT, "Gelu"): _gelu,
    (MICROSOFT, "GridSample"): _grid_sample,
    (MICROSOFT, "MatMulNBits"): _matmul_nbits,
    (MICROSOFT, "MultiHeadAttention"): _multi_head_attention,
    (MICROSOFT, "Pad"): lambda x, pads, mode: np.pad(x, pads.reshape(2, -1).T, mode),
    (MICROSOFT, "QuickGelu"): _quick_gelu,
    (MICROSOFT, "SkipLayerNormalization"): _skip_layer_normalization,
    (MICROSOFT, "SkipSimplifiedLayerNormalization"): _skip_simplified,
    (MICROSOFT, "TransposeMatMul"): _fused_matmul,
    (MICROSOFT, "Trilu"): lambda x, upper: np.triu(x) if upper else np.tril(x),
}


def _operator(domain: str, name: str, function: Callable[..., Any]) -> type[OpRun]:
    def run(self: OpRun, *inputs: np.ndarray | None, **attributes: Any) -> tuple[np.ndarray, ...]:
        given = {key: value for key, value in attributes.items() if value is not None}
        y = function(*inputs, **given)
        outputs = y if isinstance(y, tuple) else (y,)
        return outputs[: len(self.onnx_node.output)]

    # Else onnx gives an operator of another domain the attributes of its own operator of that name.
    schema = {"op_schema": None} if domain else {}
    return type(name, (OpRun,), {"op_domain": domain, "_run": run, **schema})


DEFINITIONS = tuple(_operator(domain, name, function) for (domain, name), function in FUNCTIONS.items())
