"""Comparing a gradient with finite differences of a witness, in random directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.contract import LayerSpec
from onnxplain.exporters.checks.operator_facts import facts_of
from onnxplain.exporters.checks.ties import features_off_the_ties
from onnxplain.exporters.checks.witness import Witness

# Beyond these a rule is wrong, not imprecise: float32 gates flip where a ReLU's input is near zero.
GRADIENT_TOLERANCE = 5e-2
SMOOTH_GRADIENT_TOLERANCE = 2e-3
DIRECTIONS = 6
# The first step of float64 moves a value by a few times its size, so neighbours that were equal have to lie further
# apart. The wider ones are for gradients so small that the logits' own rounding hides them at the first.
STEPS_FLOAT64 = (1e-9, 1e-6, 1e-3)
STEPS_FLOAT32 = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
DIRECTION_SEED = 20


@dataclass(frozen=True)
class OpenRun:
    """One pass through the explainable graph, gates open; arrays by output name."""

    values: Mapping[str, np.ndarray]
    captured: Mapping[str, np.ndarray]


def allowed_error(witness: Witness) -> float:
    """The relative error above which a gradient is refused."""
    gated = any(facts_of(operator).gates for operator in witness.operators)
    return GRADIENT_TOLERANCE if gated else SMOOTH_GRADIENT_TOLERANCE


def direction_error(layer: LayerSpec, witness: Witness, runs: Mapping[int, OpenRun], targets: Sequence[int]) -> float:
    """‖⟨g, v⟩ − (f(A + εv) − f(A − εv)) / 2ε‖ / ‖·‖ over random v, for the best step ε and the worst target."""
    # Features and captured values are those of the forward pass, whatever the target.
    run = runs[targets[0]]
    features = run.values[layer.features].astype(np.float64)
    gradients = np.stack([runs[target].values[layer.gradients].astype(np.float64) for target in targets])
    scale = float(np.sqrt(np.mean(features**2))) or 1.0
    exact = witness.dtype is np.float64
    if exact:
        features = features_off_the_ties(features)
    best = np.full(len(targets), np.inf)
    for step in STEPS_FLOAT64 if exact else STEPS_FLOAT32:
        best = np.fmin(best, _errors_at_step(witness, run, features, gradients, targets, step * scale))
        if exact and best.max() <= allowed_error(witness):
            break
    return float(best.max())


def _errors_at_step(
    witness: Witness, run: OpenRun, features: np.ndarray, gradients: np.ndarray, targets: Sequence[int], step: float
) -> np.ndarray:
    """The error of each target, float64 (T,); the images of a batch count together."""
    found, reference = [], []
    for direction in _directions(features.shape):
        forward, backward = (
            witness.evaluate(features + sign * step * direction, run.captured)[:, targets].sum(axis=0)
            for sign in (1, -1)
        )
        reference.append((forward.astype(np.float64) - backward) / (2 * step))
        found.append((gradients * direction).reshape(len(targets), -1).sum(1))
    distance = np.linalg.norm(np.subtract(found, reference), axis=0)
    scale = np.linalg.norm(reference, axis=0)
    return np.asarray(distance / np.maximum(scale, np.finfo(np.float64).tiny))


def _directions(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(DIRECTION_SEED)
    for _ in range(DIRECTIONS):
        yield rng.standard_normal(shape)
