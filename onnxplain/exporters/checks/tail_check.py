"""The check that a tail file passes before it is written: on the features it gives what the whole file gives."""

from __future__ import annotations

import numpy as np
import onnx

from onnxplain.contract import ModelSpec, TailSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.trial_images import image_batch
from onnxplain.exporters.checks.verify import OUTPUT_TOLERANCE, feeds_of, rounds
from onnxplain.exporters.graph.session import GraphSession

IMAGES = 3
SEED = 30
# Where a graph rounds, to integers or to float16, the same sum in another order may round to the other side.
ROUNDING_TOLERANCE = 2e-2


def check_tail(
    tail: onnx.ModelProto, tail_spec: TailSpec, explainable: onnx.ModelProto, spec: ModelSpec, original: onnx.ModelProto
) -> float:
    """The largest difference of logits and box from the whole file's, relative to the largest value of each.

    Random images, together where the batch is dynamic, else one after the other. Raises VerificationError.
    """
    whole, part = GraphSession(explainable, "explainable graph"), GraphSession(tail, "tail")
    layer = spec.layers[-1]
    names = {tail_spec.logits: spec.outputs.logits or "", tail_spec.box or "": spec.outputs.box or ""}
    names.pop("", None)
    dynamic = bool(explainable.graph.input[0].type.tensor_type.shape.dim[0].dim_param)
    batches = [image_batch(original, spec.input, SEED + index) for index in range(IMAGES)]
    if dynamic:
        batches = [np.concatenate(batches)]
    allowed = ROUNDING_TOLERANCE if rounds(explainable) else OUTPUT_TOLERANCE[np.dtype(np.float32)]
    largest = 0.0
    for batch in batches:
        expected = whole.run(feeds_of(spec, batch, target=-1, explain=False), [layer.features, *names.values()])
        found = part.run({tail_spec.input: expected[layer.features]}, list(names))
        for name, reference in names.items():
            error = _relative_difference(found[name], expected[reference])
            if not error <= allowed:
                raise VerificationError(
                    f"check 'tail gives the same outputs' failed: {reference!r} differs by {error:.1e} of its largest "
                    f"value, allowed {allowed:.0e}; use --no-tail"
                )
            largest = max(largest, error)
    return largest


def _relative_difference(found: np.ndarray, reference: np.ndarray) -> float:
    """Of float32 (N, C) from an output of as many numbers, in any shape and type."""
    flat = reference.reshape(found.shape).astype(np.float64)
    return float(np.abs(found - flat).max() / max(np.abs(flat).max(), 1e-30))
