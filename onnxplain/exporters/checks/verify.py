"""The checks that every explainable graph passes before it is written.

The original outputs are unchanged. The gradients change with the class, and also with the input unless the part after
the layer is affine. The gradients agree with the directional derivatives of the part after the layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx

from onnxplain.contract import LayerSpec, ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.anatomy.detector_ends import DetectorEnds
from onnxplain.exporters.checks.directional import OpenRun
from onnxplain.exporters.checks.gradient_check import check_derivative, check_gradient
from onnxplain.exporters.checks.many_targets import layers_of_one_target
from onnxplain.exporters.checks.operator_facts import rounds
from onnxplain.exporters.checks.report import Checks, LayerCheck
from onnxplain.exporters.checks.same_outputs import check_outputs
from onnxplain.exporters.checks.saturation import may_saturate_here
from onnxplain.exporters.checks.scalars import CheckedScalar, checked_scalars
from onnxplain.exporters.checks.tied_choices import describe_ties
from onnxplain.exporters.checks.trial_images import feeds_of, image_batch, plain_feeds, stated_batch
from onnxplain.exporters.checks.verify_detector import check_detector_layers
from onnxplain.exporters.checks.witness import Witness
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.widen import widen

IMAGE_SEEDS = (20, 21)


def verify(
    base: onnx.ModelProto,
    explainable: onnx.ModelProto,
    spec: ModelSpec,
    witnesses: Sequence[Witness],
    original: onnx.ModelProto,
    checked: Mapping[str, LayerCheck] = MappingProxyType({}),
    detector: DetectorEnds | None = None,
) -> Checks:
    """Run all checks. Raises VerificationError with the name of the check that failed.

    `original` is the file as found. `base` is the prepared graph; its outputs include the values that the witnesses
    (witness.py) need. The layers in `checked`, by name, were compared with a better reference already, so no finite
    differences are computed for them. `detector`: the end of the graph of a detector.
    """
    images = [image_batch(original, spec.input, seed) for seed in IMAGE_SEEDS]
    # One session at a time: each holds its own copy of the weights.
    fused = not may_saturate_here(original)
    expected = GraphSession(original, "original model", optimised=fused).run(plain_feeds(spec, images[0]))
    session = GraphSession(explainable, "explainable graph", optimised=fused)
    output_error = check_outputs(original, expected, session, spec, images[0])

    if stated_batch(explainable, spec.input) is None:
        # One is enough for the gradients, whatever the original takes.
        images = [image[:1] for image in images]
    rounding = rounds(base)
    if rounding:
        session = _unrounded(explainable, "explainable graph")
        images = [image.astype(np.float32) if image.dtype == np.float16 else image for image in images]
    base_session = None
    one_target: tuple[str, ...] = ()
    takes_many = stated_batch(explainable, spec.input) in (None, 1)
    if detector is not None:
        base_session = _unrounded(base, "prepared graph") if rounding else GraphSession(base, "prepared graph")
        found, of_first = check_detector_layers(detector, (session, base_session), spec, images, witnesses)
        if takes_many:
            one_target = layers_of_one_target(session, spec, images[0], of_first)
        return Checks(output_error, tuple(found), one_target=one_target)
    if any(layer.name not in checked for layer in spec.gradient_layers):
        base_session = _unrounded(base, "prepared graph") if rounding else GraphSession(base, "prepared graph")
    runs = _open_runs(session, base_session, spec, images, checked_scalars(spec))

    layers = []
    left_out = _left_out(spec, witnesses)
    for layer, witness in zip(spec.gradient_layers, witnesses, strict=True):
        check_gradient(layer, runs[0], spec.heads)
        if layer in left_out:
            continue
        known = checked.get(layer.name)
        try:
            layers.append(check_derivative(layer, witness, runs) if known is None else known)
        except VerificationError as error:
            ties = describe_ties(base, plain_feeds(spec, images[0]), witness.operators)
            if not ties:
                raise
            raise VerificationError(f"{error}; {ties}: choose a layer behind it") from error
    if takes_many:
        one_target = layers_of_one_target(session, spec, images[0], runs[0])
    return Checks(output_error, tuple(layers), one_target=one_target)


def _left_out(spec: ModelSpec, witnesses: Sequence[Witness]) -> Sequence[LayerSpec]:
    """The layers of attention of a large model between the first and the last.

    Their gradients are steps of the walk to the first, and what is computed at each is the same.
    """
    attention = spec.attention
    if attention is None or witnesses[len(spec.layers)].dtype is np.float64:
        return ()
    return (*attention.layers[1:-1], *attention.layerwise_layers[1:-1])


def _unrounded(proto: onnx.ModelProto, name: str) -> GraphSession:
    """A session that avoids differences in rounding: no fused integer kernels and no float16.

    Fused kernels differ from graph to graph. If a value rounds to the other side of zero, or of a saturation bound, the
    gradient at that value changes.
    """
    return GraphSession(widen(proto), name, optimised=False)


def _open_runs(
    explainable: GraphSession,
    base: GraphSession | None,
    spec: ModelSpec,
    images: Sequence[np.ndarray],
    scalars: Sequence[CheckedScalar],
) -> list[dict[CheckedScalar, OpenRun]]:
    """For each image and scalar: the outputs of the explainable graph with open gates, and the outputs of `base`."""
    names = [name for layer in spec.gradient_layers for name in (layer.features, layer.gradients)]
    runs = []
    for image in images:
        captured = {} if base is None else base.run(plain_feeds(spec, image))
        runs.append(
            {
                scalar: OpenRun(
                    explainable.run(feeds_of(spec, image, scalar.target, explain=True, scalar=scalar), names),
                    captured,
                )
                for scalar in scalars
            }
        )
    return runs
