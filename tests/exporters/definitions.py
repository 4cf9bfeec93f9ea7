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
) -> np.ndarray:
    left, right = (x.swapaxes(-1, -2) if flag else x for x, flag in ((a, transA), (b, transB)))
    return np.asarray(alpha * (left @ right))


ACTIVATIONS: Mapping[str, Callable[..., np.ndarray]] = {
    "": lambda y: y,
    "Relu": lambda y: np.maximum(y, 0),
    "Tanh": np.tanh,
    "Sigmoid": expit,
    "LeakyRelu": lambda y, alpha: np.where(y >= 0, y, alpha * y),
    "Clip": np.clip,
    "HardSigmoid": lambda y, alpha, beta: np.clip(alpha * y + beta, 0, 1),
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


FUNCTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("", "Erf"): erf,
    ("", "GatherElements"): np.take_along_axis,
    ("", "Gelu"): _gelu,
    ("", "GlobalLpPool"): _global_lp_pool,
    ("", "GlobalMaxPool"): _global_max_pool,
    ("", "GroupNormalization"): _group_normalization,
    ("", "LpNormalization"): _lp_normalization,
    ("", "LRN"): _lrn,
    ("", "MeanVarianceNormalization"): _mean_variance_normalization,
    (MICROSOFT, "BiasGelu"): lambda x, bias: _gelu(x + bias),
    (MICROSOFT, "FastGelu"): _fast_gelu,
    (MICROSOFT, "FusedConv"): _fused_conv,
    (MICROSOFT, "FusedMatMul"): _fused_matmul,
    (MICROSOFT, "Gelu"): _gelu,
    (MICROSOFT, "QuickGelu"): _quick_gelu,
    (MICROSOFT, "SkipLayerNormalization"): _skip_layer_normalization,
}


def _operator(domain: str, name: str, function: Callable[..., Any]) -> type[OpRun]:
    def run(self: OpRun, *inputs: np.ndarray | None, **attributes: Any) -> tuple[np.ndarray, ...]:
        given = {key: value for key, value in attributes.items() if value is not None}
        y = function(*inputs, **given)
        outputs = y if isinstance(y, tuple) else (y,)
        return outputs[: len(self.onnx_node.output)]

    return type(name, (OpRun,), {"op_domain": domain, "_run": run})


DEFINITIONS = tuple(_operator(domain, name, function) for (domain, name), function in FUNCTIONS.items())
