"""The checks that two graphs return the same outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnxplain.contract import ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.trial_images import feeds_of
from onnxplain.exporters.graph.session import GraphSession

OUTPUT_TOLERANCE = {np.dtype(np.float16): 2e-3, np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-5}


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
    expected: Mapping[str, np.ndarray], explainable: GraphSession, spec: ModelSpec, batch: np.ndarray
) -> float:
    """The largest difference of an output from the original one, relative to the largest value of that output.

    `expected` holds the original outputs for `batch`. Raises VerificationError if a difference is too large.
    """
    largest = 0.0
    for name, reference in expected.items():
        if reference.dtype.kind == "f" and not np.isfinite(reference).all():
            raise VerificationError(
                f"output {name!r} of the original model: found NaN or infinity on a random image, expected finite "
                "numbers: check the model's weights and the stated preprocessing"
            )
    for explain in (False, True):
        found = explainable.run(feeds_of(spec, batch, target=-1, explain=explain), list(expected))
        for name, reference in expected.items():
            error = relative_difference(found[name], reference)
            allowed = OUTPUT_TOLERANCE.get(reference.dtype, 0.0)
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
    images: Sequence[np.ndarray],
    tolerance: float,
    *,
    fused: bool = True,
) -> None:
    """Raise VerificationError unless a batch returns what its images return one by one; integers may differ by 1.

    `fused`: with ONNX Runtime's optimisations.
    """
    single = GraphSession(original, "original model", optimised=fused)
    batched = GraphSession(freed, "model with a dynamic batch", optimised=fused)
    one_by_one = [single.run({name: image}) for image in images]
    together = batched.run({name: np.concatenate(list(images))})
    for output, found in together.items():
        expected = np.concatenate([run[output] for run in one_by_one])
        if found.shape != expected.shape:
            raise VerificationError(
                f"output {output!r}: found shape {found.shape} for a batch of {len(images)} images, "
                f"expected {expected.shape}"
            )
        error = relative_difference(found, expected)
        allowed = 1.0 / _largest(expected) if expected.dtype.kind in "iu" else tolerance
        if not error <= allowed:
            raise VerificationError(
                f"output {output!r} differs between a batch and single images by {error:.1e} of its largest value, "
                f"allowed {allowed:.0e}"
            )
