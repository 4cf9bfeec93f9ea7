"""Comparing the gradients of an explainable graph with those of the module that it was traced from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.contract import EXPLAIN_INPUT, REFERENCE_INPUT, REGION_INPUT, TARGET_INPUT, ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.directional import allowed_error
from onnxplain.exporters.checks.report import LayerCheck
from onnxplain.exporters.checks.scalars import CheckedScalar, checked_scalars, control_feeds
from onnxplain.exporters.checks.tied_choices import describe_ties
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.pytorch.module import ModuleScalar, Wanted, gradients, relative_error
from onnxplain.exporters.writing.explainable import Explainable

if TYPE_CHECKING:
    import torch

_WITHOUT_TIES = "use amax or amin for max or min; for topk, write the file with torch.onnx.export, then instrument it"


def check_module_gradients(
    module: torch.nn.Module,
    explainable: Explainable,
    batch: np.ndarray,
    outputs: Collection[str],
    taps: Sequence[str],
) -> dict[str, LayerCheck]:
    """Compare gradients with torch.autograd, for several images with different targets. Raises VerificationError.

    `outputs` are those of the module. A head behind a Softmax or Sigmoid inside the module cannot be compared, since
    the module does not return its logits. Returns the checks of the layers whose maps the module computes too, if all
    heads were compared.
    """
    spec = explainable.spec
    scalars = [each for each in checked_scalars(spec) if spec.heads[each.head].logits in outputs]
    if not scalars:
        return {}
    session = GraphSession(explainable.proto, "explainable graph")
    errors: dict[str, float] = {}
    for start in range(0, len(scalars), len(batch)):
        rows = [scalars[(start + row) % len(scalars)] for row in range(len(batch))]
        found = session.run({spec.input.name: batch, **_feeds(spec, rows)})
        wanted = [
            Wanted(layer.name if taps else None, found[layer.features], arrangement)
            for layer, arrangement in zip(spec.layers, explainable.arrangements, strict=True)
        ]
        references = gradients(module, batch, [_scalar(spec, each) for each in rows], wanted)
        for layer, witness, reference in zip(spec.layers, explainable.witnesses, references, strict=True):
            if reference is None:
                continue
            error, allowed = relative_error(found[layer.gradients], reference), allowed_error(witness)
            if not error <= allowed:
                ties = describe_ties(explainable.base, {spec.input.name: batch}, witness.operators)
                raise VerificationError(
                    f"check 'gradient agrees with torch.autograd' failed at layer {layer.name!r}: relative error "
                    f"{error:.1e}, allowed {allowed:.0e}{ties and f'; {ties}: {_WITHOUT_TIES}'}"
                )
            errors[layer.name] = max(error, errors.get(layer.name, 0.0))
    if any(head.logits not in outputs for head in spec.heads):
        return {}
    return {
        layer.name: LayerCheck(layer.name, errors[layer.name], "torch.autograd", witness.operators)
        for layer, witness in zip(spec.layers, explainable.witnesses, strict=True)
        if layer.name in errors
    }


def _feeds(spec: ModelSpec, rows: Sequence[CheckedScalar]) -> dict[str, np.ndarray]:
    """One scalar per image."""
    each = [control_feeds(spec.heads, scalar) for scalar in rows]
    feeds = {TARGET_INPUT: np.array([scalar.target for scalar in rows], np.int64), EXPLAIN_INPUT: np.array([True])}
    for name in (REFERENCE_INPUT, REGION_INPUT):
        if name in each[0]:
            shape = np.broadcast_shapes(*(feed[name].shape for feed in each))
            feeds[name] = np.concatenate([np.broadcast_to(feed[name], shape) for feed in each])
    return feeds


def _scalar(spec: ModelSpec, scalar: CheckedScalar) -> ModuleScalar:
    reference = None if scalar.reference is None else scalar.reference[0]
    region = None if scalar.region is None else scalar.region[0, 0]
    return ModuleScalar(str(spec.heads[scalar.head].logits), scalar.index, reference, region)
