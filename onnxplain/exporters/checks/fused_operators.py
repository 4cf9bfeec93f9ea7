"""ONNX Runtime's fused operators in a witness, which runs in float64 on onnx's reference evaluator.

Definitions: ONNX Runtime's docs/ContribOperators.md. An operator that is neither here nor known to the reference
evaluator makes the witness run in float32, where small gradients and gates are lost in rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx.reference.op_run import OpRun

from onnxplain.errors import UnsupportedError
from onnxplain.exporters.checks.witness_builder import WitnessBuilder
from onnxplain.exporters.graph.values import name_of

# The parameters of an activation, in the order of `activation_params`.
PARAMETERS: Mapping[str, Sequence[str]] = {
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Selu": ("alpha", "gamma"),
    "ThresholdedRelu": ("alpha",),
}


def add_fused_product(witness: WitnessBuilder, node: ir.Node, product: str) -> None:
    """Append FusedConv or FusedGemm as `product` (Conv, Gemm), the sum of a FusedConv, and the activation."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    activation = attributes.pop("activation", "")
    # FusedConv has a list of parameters, FusedGemm one attribute for each.
    listed = attributes.pop("activation_params", ())
    parameters = dict(zip(PARAMETERS.get(activation, ()), listed, strict=False))
    for name in [name for name in attributes if name.startswith("activation_")]:
        parameters[name.removeprefix("activation_")] = attributes.pop(name)
    out = name_of(node.outputs[0])
    witness.emit(product, [witness.input(value) for value in node.inputs[:3]], f"{out}/product", **attributes)
    value = f"{out}/product"
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        witness.emit("Add", [value, witness.input(node.inputs[3])], f"{out}/sum")
        value = f"{out}/sum"
    if activation == "Clip":
        bounds = [witness.constant(bound, out, role) for role, bound in zip(("low", "high"), listed, strict=True)]
        witness.emit("Clip", [value, *bounds], out)
    else:
        witness.emit(activation or "Identity", [value], out, **parameters)


def _gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return np.asarray(x * (1 + erf(x / np.sqrt(2))) / 2)


class _Fused(OpRun):
    op_domain = "com.microsoft"


class Gelu(_Fused):
    """x Φ(x).

    The evaluator adds the attribute of the standard operator of that name.
    """

    def _run(self, x: np.ndarray, approximate: str | None = None) -> tuple[np.ndarray]:
        return (_gelu(x),)


class BiasGelu(_Fused):
    """Gelu of x + bias."""

    def _run(self, x: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray]:
        return (_gelu(x + bias),)


class FastGelu(_Fused):
    """Gelu of x + bias, by tanh."""

    def _run(self, x: np.ndarray, bias: np.ndarray | None = None) -> tuple[np.ndarray]:
        x = x if bias is None else x + bias
        return (x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,)


class QuickGelu(_Fused):
    """x · sigmoid(α x)."""

    def _run(self, x: np.ndarray, alpha: float | None = None) -> tuple[np.ndarray]:
        return (x / (1 + np.exp(-(1.702 if alpha is None else alpha) * x)),)


class FusedMatMul(_Fused):
    """α A B; the rows of A or B may stand in front of its batch, and its last two axes may be swapped."""

    def _run(
        self,
        a: np.ndarray,
        b: np.ndarray,
        alpha: float | None = None,
        transA: int | None = None,
        transB: int | None = None,
        transBatchA: int | None = None,
        transBatchB: int | None = None,
    ) -> tuple[np.ndarray]:
        left, right = np.moveaxis(a, 0, -2) if transBatchA else a, np.moveaxis(b, 0, -2) if transBatchB else b
        left, right = left.swapaxes(-1, -2) if transA else left, right.swapaxes(-1, -2) if transB else right
        return (left @ right * (1.0 if alpha is None else alpha),)


class Attention(_Fused):
    """softmax(scale · Q Kᵀ + added) V of each head; Q, K and V are parts of one product of x."""

    def _run(
        self,
        x: np.ndarray,
        weights: np.ndarray,
        bias: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        past: np.ndarray | None = None,
        added: np.ndarray | None = None,
        num_heads: int | None = None,
        qkv_hidden_sizes: Sequence[int] | None = None,
        scale: float | None = None,
        unidirectional: int | None = None,
        do_rotary: int | None = None,
        **of_the_standard_operator: object,
    ) -> tuple[np.ndarray]:
        if mask is not None or past is not None or unidirectional or do_rotary:
            raise UnsupportedError("Attention: masks by length, caches and causal attention are not supported")
        projected = x @ weights if bias is None else x @ weights + bias
        sizes = list(qkv_hidden_sizes or [weights.shape[1] // 3] * 3)
        heads = num_heads or 1
        query, key, value = (
            part.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
            for part in np.split(projected, np.cumsum(sizes)[:2], axis=2)
        )
        scores = query @ key.swapaxes(2, 3) * (scale or 1 / np.sqrt(query.shape[3]))
        scores = scores if added is None else scores + added
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = powers / powers.sum(-1, keepdims=True) @ value
        return (mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1),)


class SkipLayerNormalization(_Fused):
    """LayerNormalization of input + skip + bias over the last axis; the fourth output is that sum."""

    def _run(
        self,
        x: np.ndarray,
        skip: np.ndarray,
        gamma: np.ndarray,
        beta: np.ndarray | None = None,
        bias: np.ndarray | None = None,
        epsilon: float | None = None,
    ) -> tuple[np.ndarray, ...]:
        total = x + skip if bias is None else x + skip + bias
        mean = total.mean(-1, keepdims=True)
        deviation = 1 / np.sqrt(total.var(-1, keepdims=True) + (1e-12 if epsilon is None else epsilon))
        normal = (total - mean) * deviation * gamma
        return (normal if beta is None else normal + beta, mean, deviation, total)


FUSED: Sequence[type[OpRun]] = (Attention, BiasGelu, FastGelu, FusedMatMul, Gelu, QuickGelu, SkipLayerNormalization)
