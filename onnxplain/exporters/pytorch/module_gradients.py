"""Comparing the gradients of an explainable graph with those of the module that it was traced from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.contract import EXPLAIN_INPUT, REFERENCE_INPUT, REGION_INPUT, TARGET_INPUT, ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.checks.directional import allowed_error
from onnxplain.exporters.checks.questions import Question, control_feeds, questions_of
from onnxplain.exporters.checks.report import LayerCheck
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.pytorch.module import ModuleScalar, Wanted, gradients, relative_error
from onnxplain.exporters.writing.explainable import Explainable

if TYPE_CHECKING:
    import torch


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
    questions = [each for each in questions_of(spec) if spec.heads[each.head].logits in outputs]
    if not questions:
        return {}
    session = GraphSession(explainable.proto, "explainable graph")
    errors: dict[str, float] = {}
    for start in range(0, len(questions), len(batch)):
        rows = [questions[(start + row) % len(questions)] for row in range(len(batch))]
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
                raise VerificationError(
                    f"check 'gradient agrees with torch.autograd' failed at layer {layer.name!r}: relative error "
                    f"{error:.1e}, allowed {allowed:.0e}"
                )
            errors[layer.name] = max(error, errors.get(layer.name, 0.0))
    if any(head.logits not in outputs for head in spec.heads):
        return {}
    return {
        layer.name: LayerCheck(layer.name, errors[layer.name], "torch.autograd", witness.operators)
        for layer, witness in zip(spec.layers, explainable.witnesses, strict=True)
        if layer.name in errors
    }


def _feeds(spec: ModelSpec, rows: Sequence[Question]) -> dict[str, np.ndarray]:
    """One question per image."""
    each = [control_feeds(spec.heads, question) for question in rows]
    feeds = {TARGET_INPUT: np.array([question.target for question in rows], np.int64), EXPLAIN_INPUT: np.array([True])}
    for name in (REFERENCE_INPUT, REGION_INPUT):
        if name in each[0]:
            shape = np.broadcast_shapes(*(feed[name].shape for feed in each))
            feeds[name] = np.concatenate([np.broadcast_to(feed[name], shape) for feed in each])
    return feeds


def _scalar(spec: ModelSpec, question: Question) -> ModuleScalar:
    reference = None if question.reference is None else question.reference[0]
    region = None if question.region is None else question.region[0, 0]
    return ModuleScalar(str(spec.heads[question.head].logits), question.index, reference, region)
