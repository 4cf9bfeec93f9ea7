"""How far the outputs of a model in float16 are from those in float32."""

from __future__ import annotations

import numpy as np
import onnx

from onnxplain.contract import ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.same_outputs import relative_difference
from onnxplain.exporters.checks.trial_images import image_batch, plain_feeds
from onnxplain.exporters.graph.session import GraphSession

FLOAT16_IMAGE_SEEDS = (50, 51)
# A network of fifty layers keeps two digits; beyond this, values overflow or cancel.
FLOAT16_TOLERANCE = 5e-2


def check_float16(wide: onnx.ModelProto, narrow: onnx.ModelProto, spec: ModelSpec) -> float:
    """The largest difference of an output on random images, relative to the largest value of that output.

    Raises VerificationError if it is over 5 %, or if float16 overflows. Eight-bit outputs are quantized
    numbers and are compared too; wider integers are indices, which are not.
    """
    feeds = [plain_feeds(spec, image_batch(wide, spec.input, seed)) for seed in FLOAT16_IMAGE_SEEDS]
    session = GraphSession(wide, "original model")
    expected = [session.run(feed) for feed in feeds]
    session = GraphSession(narrow, "model in float16")
    largest = 0.0
    for feed, references in zip(feeds, expected, strict=True):
        found = session.run(feed, list(references))
        for name, reference in references.items():
            if reference.dtype.kind != "f" and reference.dtype.itemsize > 1:
                continue
            error = relative_difference(found[name], reference)
            if not error <= FLOAT16_TOLERANCE:
                how = f"differs by {error:.1e} of its largest value" if np.isfinite(error) else "overflows"
                raise VerificationError(
                    f"check 'same answers in float16' failed: output {name!r} {how}, allowed {FLOAT16_TOLERANCE:.0e}: "
                    "leave out --float16"
                )
            largest = max(largest, error)
    return largest
