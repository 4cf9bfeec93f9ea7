"""Comparing a gradient with finite differences of a witness (see witness.py), in random directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.contract import LayerSpec
from onnxplain.exporters.checks.operator_facts import facts_of
from onnxplain.exporters.checks.scalars import AnyScalar, Differentiated
from onnxplain.exporters.checks.ties import features_off_the_ties
from onnxplain.exporters.checks.witness import Witness

# A larger error means that a rule is wrong. Smaller errors come from rounding: in float32 a ReLU whose input is near
# zero can switch between on and off.
GRADIENT_TOLERANCE = 5e-2
SMOOTH_GRADIENT_TOLERANCE = 2e-3
DIRECTIONS = 6
# In float64 the first step moves a value by a few times the step. Values that were equal are moved further apart than
# that (ties.py). The wider steps are for gradients so small that the rounding of the logits hides them at the first.
STEPS_FLOAT64 = (1e-9, 1e-6, 1e-3)
STEPS_FLOAT32 = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
DIRECTION_SEED = 20


@dataclass(frozen=True)
class OpenRun:
    """One run of the explainable graph with open gates; arrays by output name."""

    values: Mapping[str, np.ndarray]
    captured: Mapping[str, np.ndarray]


def allowed_error(witness: Witness) -> float:
    """The largest relative error at which a gradient is accepted."""
    gated = any(facts_of(operator).gates for operator in witness.operators)
    return GRADIENT_TOLERANCE if gated else SMOOTH_GRADIENT_TOLERANCE


def direction_error(layer: LayerSpec, witness: Witness, runs: Mapping[AnyScalar, OpenRun]) -> float:
    """‖⟨g, v⟩ − (f(A + εv) − f(A − εv)) / 2ε‖ / ‖·‖ over random v, for the best step ε and the worst scalar."""
    # Features and captured values come from the forward pass, which is the same for every scalar.
    scalars = tuple(runs)
    run = runs[scalars[0]]
    features = run.values[layer.features].astype(np.float64)
    gradients = np.stack([each.values[layer.gradients].astype(np.float64) for each in runs.values()])
    scale = float(np.sqrt(np.mean(features**2))) or 1.0
    exact = witness.dtype is np.float64
    if exact:
        features = features_off_the_ties(features)
    best = np.full(len(scalars), np.inf)
    for step in STEPS_FLOAT64 if exact else STEPS_FLOAT32:
        best = np.fmin(best, _errors_at_step(witness, run, features, gradients, scalars, step * scale))
        if exact and best.max() <= allowed_error(witness):
            break
    return float(best.max())


def _errors_at_step(
    witness: Witness,
    run: OpenRun,
    features: np.ndarray,
    gradients: np.ndarray,
    scalars: Sequence[Differentiated],
    step: float,
) -> np.ndarray:
    """The error of each scalar, float64 (Q,); the images of a batch count together."""
    found, reference = [], []
    for direction in _directions(features.shape):
        forward, backward = (
            witness.evaluate(features + sign * step * direction, run.captured, scalars).sum(axis=0) for sign in (1, -1)
        )
        reference.append((forward.astype(np.float64) - backward) / (2 * step))
        found.append((gradients * direction).reshape(len(scalars), -1).sum(1))
    distance = np.linalg.norm(np.subtract(found, reference), axis=0)
    scale = np.linalg.norm(reference, axis=0)
    return np.asarray(distance / np.maximum(scale, np.finfo(np.float64).tiny))


def _directions(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(DIRECTION_SEED)
    for _ in range(DIRECTIONS):
        yield rng.standard_normal(shape)
