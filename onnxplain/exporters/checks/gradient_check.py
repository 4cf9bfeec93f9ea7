"""The checks of one layer's gradient: its shape, its dependence on class and input, and its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnxplain.contract import HeadSpec, LayerSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.directional import OpenRun, allowed_error, direction_error
from onnxplain.exporters.checks.report import LayerCheck, Reference
from onnxplain.exporters.checks.scalars import AnyScalar, CheckedScalar, pairs_of
from onnxplain.exporters.checks.witness import Witness, in_float32

# A witness counts as affine between two images if its deviation from a straight line, relative to the logits, is at
# most this.
AFFINE_TOLERANCE, AFFINE_TOLERANCE_FLOAT32 = 1e-6, 1e-4


def check_gradient(layer: LayerSpec, runs: Mapping[CheckedScalar, OpenRun], heads: Sequence[HeadSpec]) -> None:
    """Check that the gradient has the right shape, is finite and changes with the entry of a head.

    Raises VerificationError.
    """
    gradients = check_finite(layer, runs)
    for one, other in pairs_of(tuple(runs)):
        if np.array_equal(gradients[one], gradients[other]):
            head = heads[one.head]
            entries = f"{_ENTRIES.get(head.kind, 'entries')} {one.index} and {other.index}"
            of_head = "" if len(heads) == 1 else f" of head {head.name!r}"
            raise VerificationError(
                f"check 'gradient changes with the class' failed at layer {layer.name!r}: {entries}{of_head} have the "
                "same gradient; choose another layer"
            )


def check_finite(layer: LayerSpec, runs: Mapping[AnyScalar, OpenRun]) -> dict[AnyScalar, np.ndarray]:
    """The gradient of each scalar. Raises VerificationError for a wrong shape, NaN or infinity."""
    gradients = {scalar: run.values[layer.gradients] for scalar, run in runs.items()}
    for scalar, gradient in gradients.items():
        expected = (len(runs[scalar].values[layer.features]), layer.channels, *layer.size_hw)
        if gradient.shape != expected:
            raise VerificationError(
                f"check 'gradient shape' failed at layer {layer.name!r}: found {gradient.shape}, expected {expected}"
            )
        if not np.isfinite(gradient).all():
            raise VerificationError(
                f"check 'gradient finite' failed at layer {layer.name!r}, target {scalar.target}: found NaN or "
                "infinity, expected finite numbers; choose another layer"
            )
    return gradients


_ENTRIES = {"classes": "classes", "labels": "labels", "values": "values", "mask": "classes", "box": "coordinates"}


def check_derivative(layer: LayerSpec, witness: Witness, runs: Sequence[Mapping[AnyScalar, OpenRun]]) -> LayerCheck:
    """Check that the gradient is the derivative of the part after the layer. Raises VerificationError."""
    witness = _runnable(witness, layer, runs)
    _check_input_dependence(layer, witness, runs)
    error, allowed = direction_error(layer, witness, runs[0]), allowed_error(witness)
    if not error <= allowed:
        raise VerificationError(
            f"check 'gradient agrees with finite differences' failed at layer {layer.name!r}: relative error "
            f"{error:.1e}, allowed {allowed:.0e}"
        )
    reference: Reference = "float64 differences" if witness.dtype is np.float64 else "float32 differences"
    return LayerCheck(layer.name, error, reference, witness.operators)


def _runnable(witness: Witness, layer: LayerSpec, runs: Sequence[Mapping[AnyScalar, OpenRun]]) -> Witness:
    """The witness to use: in float64 if the reference evaluator can run it, else in float32."""
    scalar, run = next(iter(runs[0].items()))
    if witness.dtype is np.float64:
        try:
            witness.evaluate(run.values[layer.features], run.captured, [scalar])
        except Exception:
            # The reference evaluator does not support some operators or forms of operators, for example
            # ConvTranspose with groups, and raises many kinds of errors for them. ONNX Runtime then evaluates the
            # same witness in float32.
            return in_float32(witness)
    return witness


def _check_input_dependence(layer: LayerSpec, witness: Witness, runs: Sequence[Mapping[AnyScalar, OpenRun]]) -> None:
    """Raise VerificationError if two inputs have the same gradient, unless the witness is affine between them."""
    scalar = next(iter(runs[0]))
    one, other = (run[scalar] for run in runs)
    if not np.array_equal(one.values[layer.gradients], other.values[layer.gradients]):
        return
    ends = [run.values[layer.features].astype(np.float64) for run in (one, other)]
    at_ends = [witness.evaluate(end, one.captured, [scalar])[:, 0] for end in ends]
    middle = witness.evaluate((ends[0] + ends[1]) / 2, one.captured, [scalar])[:, 0]
    scale = max(np.abs(at_ends[0]).max(), np.abs(at_ends[1]).max(), 1e-30)
    bend = np.abs(middle - (at_ends[0] + at_ends[1]) / 2).max() / scale
    tolerance = AFFINE_TOLERANCE if witness.dtype is np.float64 else AFFINE_TOLERANCE_FLOAT32
    if bend > tolerance:
        raise VerificationError(
            f"check 'gradient changes with the input' failed at layer {layer.name!r}: two images have the same "
            f"gradient, but the graph after the layer is not affine between them (relative deviation {bend:.1e}, "
            f"allowed {tolerance:.0e}); choose another layer"
        )
