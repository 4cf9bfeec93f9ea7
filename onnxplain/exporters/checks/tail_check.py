"""The check of a tail file before it is written: on the features it returns the same outputs as the whole file."""

from __future__ import annotations

import numpy as np
import onnx

from onnxplain.contract import ModelSpec, TailSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.operator_facts import rounds
from onnxplain.exporters.checks.same_outputs import OUTPUT_TOLERANCE, relative_difference
from onnxplain.exporters.checks.saturation import may_saturate_here
from onnxplain.exporters.checks.trial_images import feeds_of, image_batch
from onnxplain.exporters.graph.session import GraphSession

TAIL_IMAGE_SEEDS = (30, 31, 32)
# In a graph that rounds (to integers or float16), the same sum in another order may round to the other side.
ROUNDING_TOLERANCE = 2e-2


def check_tail(
    tail: onnx.ModelProto, tail_spec: TailSpec, explainable: onnx.ModelProto, spec: ModelSpec, original: onnx.ModelProto
) -> float:
    """The largest difference of logits and box from those of the whole file, relative to the largest value of each.

    Uses random images: in one batch if the batch is dynamic, else one after the other. Raises VerificationError if the
    difference is too large.
    """
    fused = not may_saturate_here(original)
    whole = GraphSession(explainable, "explainable graph", optimised=fused)
    part = GraphSession(tail, "tail", optimised=fused)
    layer = spec.layers[-1]
    names = {name: str(head.logits) for name, head in zip(tail_spec.outputs, spec.heads, strict=True)}
    (image,) = [value for value in explainable.graph.input if value.name == spec.input.name]
    dynamic = bool(image.type.tensor_type.shape.dim[0].dim_param)
    batches = [image_batch(original, spec.input, seed) for seed in TAIL_IMAGE_SEEDS]
    if dynamic:
        batches = [np.concatenate(batches)]
    allowed = ROUNDING_TOLERANCE if rounds(explainable) else OUTPUT_TOLERANCE[np.dtype(np.float32)]
    largest = 0.0
    for batch in batches:
        expected = whole.run(feeds_of(spec, batch, explain=False), [layer.features, *names.values()])
        found = part.run({tail_spec.input: expected[layer.features]}, list(names))
        for name, reference in names.items():
            # The tail's outputs are float32 (N, C); those of the whole file may have another shape and type.
            whole_output = expected[reference].reshape(found[name].shape).astype(found[name].dtype)
            error = relative_difference(found[name], whole_output)
            if not error <= allowed:
                raise VerificationError(
                    f"check 'tail gives the same outputs' failed: {reference!r} differs by {error:.1e} of its largest "
                    f"value, allowed {allowed:.0e}; use --no-tail"
                )
            largest = max(largest, error)
    return largest
