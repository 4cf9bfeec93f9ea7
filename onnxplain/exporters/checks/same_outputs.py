"""The checks that two graphs return the same outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from onnxplain.contract import ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.trial_images import feeds_of
from onnxplain.exporters.graph.session import GraphSession

OUTPUT_TOLERANCE = {np.dtype(np.float16): 2e-3, np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-5}


def allowed_difference(model: onnx.ModelProto, dtype: np.dtype) -> float:
    """The largest relative difference of an output of this type; 0 for integers.

    Outputs of any float type round as float16 does where the weights of the model are float16.
    """
    allowed = OUTPUT_TOLERANCE.get(dtype, 0.0)
    narrow = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    return max(allowed, OUTPUT_TOLERANCE[np.dtype(np.float16)]) if narrow and allowed else allowed


def relative_difference(found: np.ndarray, reference: np.ndarray) -> float:
    """The largest |found − reference| relative to the largest |reference|; infinite if shape or type differs."""
    if found.shape != reference.shape or found.dtype != reference.dtype:
        return float("inf")
    if reference.size == 0 or reference.dtype.kind not in "fiu":
        return 0.0 if np.array_equal(found, reference) else float("inf")
    difference = np.abs(found.astype(np.float64) - reference.astype(np.float64)).max()
    return float(difference / _largest(reference))


def _largest(array: np.ndarray) -> float:
    return max(float(np.abs(array.astype(np.float64)).max()), 1e-30)


def check_outputs(
    original: onnx.ModelProto,
    expected: Mapping[str, np.ndarray],
    explainable: GraphSession,
    spec: ModelSpec,
    batch: np.ndarray,
) -> float:
    """The largest difference of an output from the original one, relative to the largest value of that output.

    `expected` holds the outputs of `original` for `batch`. Raises VerificationError if a difference is too large.
    """
    largest = 0.0
    for name, reference in expected.items():
        if reference.dtype.kind == "f" and not np.isfinite(reference).all():
            raise VerificationError(
                f"output {name!r} of the original model: found NaN or infinity on a random image, expected finite "
                "numbers: check the model's weights and the stated preprocessing"
            )
    for explain in (False, True):
        found = explainable.run(feeds_of(spec, batch, explain=explain), list(expected))
        for name, reference in expected.items():
            error = relative_difference(found[name], reference)
            allowed = allowed_difference(original, reference.dtype)
            if not error <= allowed:
                raise VerificationError(
                    f"check 'outputs unchanged' failed: output {name!r} differs by {error:.1e} of its largest value "
                    f"(explain {str(explain).lower()}), allowed {allowed:.0e}"
                )
            largest = max(largest, error)
    return largest


def check_same(
    original: onnx.ModelProto,
    freed: onnx.ModelProto,
    name: str,
    images: np.ndarray,
    batch: int,
    tolerance: float,
    *,
    fused: bool = True,
) -> None:
    """Raise VerificationError unless the freed model returns for other batches what the original returns for its own.

    The number of `images` is a multiple of `batch`, the number that the original takes. The freed model gets the first
    image alone, then the others together. Integers may differ by 1. `fused`: with ONNX Runtime's optimisations.
    """
    fixed = GraphSession(original, "original model", optimised=fused)
    dynamic = GraphSession(freed, "model with a dynamic batch", optimised=fused)
    whole = [fixed.run({name: images[start : start + batch]}) for start in range(0, len(images), batch)]
    parts = [dynamic.run({name: images[:1]}), dynamic.run({name: images[1:]})]
    for output in parts[0]:
        expected = np.concatenate([run[output] for run in whole])
        shapes = [run[output].shape for run in parts]
        if shapes != [(count, *expected.shape[1:]) for count in (1, len(images) - 1)] or len(expected) != len(images):
            raise VerificationError(f"output {output!r} becomes {shapes[1]} for {len(images) - 1} images")
        found = np.concatenate([run[output] for run in parts])
        error = relative_difference(found, expected)
        allowed = 1.0 / _largest(expected) if expected.dtype.kind in "iu" else tolerance
        if not error <= allowed:
            raise VerificationError(
                f"output {output!r} differs between a batch and single images by {error:.1e} of its largest value, "
                f"allowed {allowed:.0e}"
            )
