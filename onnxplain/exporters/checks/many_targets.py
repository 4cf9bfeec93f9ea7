"""The check of several targets at once: the gradients of one image are those of a run per target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT, LayerSpec, ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.directional import OpenRun
from onnxplain.exporters.checks.same_outputs import relative_difference
from onnxplain.exporters.checks.scalars import AnyScalar, CheckedScalar, control_feeds
from onnxplain.exporters.checks.trial_images import feeds_of
from onnxplain.exporters.graph.session import GraphSession

# Products of several rows add in another order than those of one.
MANY_TARGETS_TOLERANCE = 1e-4


def layers_of_one_target(
    session: GraphSession,
    spec: ModelSpec,
    image: np.ndarray,
    runs: Mapping[AnyScalar, OpenRun],
) -> tuple[str, ...]:
    """Names of the layers that claim several targets at once, but fail with them or give other gradients.

    `runs` are those of single scalars for `image`, one image.
    """
    first, *_, last = (*runs, *runs)
    return tuple(
        layer.name
        for layer in spec.gradient_layers
        if layer.many_targets and not _is_as_one_by_one(session, spec, layer, image, runs, (first, first, last))
    )


def _is_as_one_by_one(
    session: GraphSession,
    spec: ModelSpec,
    layer: LayerSpec,
    image: np.ndarray,
    runs: Mapping[AnyScalar, OpenRun],
    scalars: Sequence[AnyScalar],
) -> bool:
    feeds = feeds_of(spec, image, explain=True)
    feeds[TARGET_INPUT] = np.array([scalar.target for scalar in scalars], np.int64)
    controls = [control_feeds(spec.heads, each) for each in scalars if isinstance(each, CheckedScalar)]
    for name in controls[0] if controls else ():
        sizes = np.broadcast_shapes(*(control[name].shape for control in controls))
        feeds[name] = np.concatenate([np.broadcast_to(control[name], sizes) for control in controls])
    if spec.gated:
        feeds[EXPLAIN_INPUT] = np.array([other is layer for other in spec.layers])
    expected = np.concatenate([runs[scalar].values[layer.gradients] for scalar in scalars])
    try:
        found = session.run(feeds, [layer.gradients])[layer.gradients]
    except VerificationError:
        return False
    return relative_difference(found, expected) <= MANY_TARGETS_TOLERANCE
