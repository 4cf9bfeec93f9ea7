"""Features and gradients of placed targets: −y and differences of two entries from one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxplain.contract import LayerSpec
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.runtime.arrays import AnyArray, FloatArray
from onnxplain.runtime.head_scores import head_output, head_scalars
from onnxplain.runtime.read_activations import observe
from onnxplain.runtime.results import Activations

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine
    from onnxplain.runtime.image import ImageLike

_EPSILON = float(np.finfo(np.float32).eps)
# The gradient of a cosine is a difference of two unit vectors. What is left of equal ones is rounding.
_COSINE_ROUNDING = 64
# The same for the difference of two gradients, in epsilons of the two.
_DIFFERENCE_ROUNDING = 4


@dataclass(frozen=True, eq=False)
class PlacedActivations(Activations):
    """Activations whose gradients are those of `placed`, one per row: ``sign · (∂y_index − ∂y_against)``."""

    placed: tuple[PlacedTarget, ...] = ()


def target_weights(weights_ck: FloatArray, activations: Activations) -> FloatArray:
    """The weights (C, K) of the default head's entries, combined as each target of the activations says: (N, K)."""
    placed = activations.placed if isinstance(activations, PlacedActivations) else ()
    if all(each.is_single for each in placed):
        return weights_ck[activations.target]
    return np.stack([each.of(weights_ck.T) for each in placed])


def observe_placed(
    engine: Engine,
    images: ImageLike | Sequence[ImageLike],
    placed: Sequence[PlacedTarget],
    layer: LayerSpec,
    *,
    gradients: bool,
) -> PlacedActivations:
    """The activations of a layer: one row per image, or one per target of a single image.

    A gradient that is rounding (`is_rounding`) is set to zero. Targets with `against` take a single image.
    """
    return observe_layers(engine, images, placed, [layer], gradients=gradients)[0]


def observe_layers(
    engine: Engine,
    images: ImageLike | Sequence[ImageLike],
    placed: Sequence[PlacedTarget],
    layers: Sequence[LayerSpec],
    *,
    gradients: bool,
) -> list[PlacedActivations]:
    """As `observe_placed`, for several layers, or matrices of attention, from the same run."""
    others = [each for each in placed if gradients and each.against is not None]
    rows = [*placed, *others]
    reference, region = stack_aims(rows)
    targets = [each.index for each in placed] + [each.against for each in others]
    observed = observe(engine, images, targets, layers, gradients=gradients, reference=reference, region=region)
    return [_combined(placed, seen) for seen in observed]


def _combined(placed: Sequence[PlacedTarget], seen: Activations) -> PlacedActivations:
    """One row per placed target, its gradient that of the target."""
    count = len(placed)
    settled = [each.settle(int(index)) for each, index in zip(placed, seen.target[:count], strict=True)]
    found = None if seen.gradients is None else combine_gradients(settled, seen.gradients, seen, count)
    return PlacedActivations(
        layer=seen.layer,
        features=seen.features[:count],
        gradients=found,
        logits=None if seen.logits is None else seen.logits[:count],
        scores=seen.scores[:count],
        target=seen.target[:count],
        frames=seen.frames[:count],
        entries=None if seen.entries is None else seen.entries[:count],
        entry_scores=None if seen.entry_scores is None else seen.entry_scores[:count],
        answers=seen.answers[:count],
        placed=tuple(settled),
    )


def combine_gradients(
    placed: Sequence[PlacedTarget], gradients: FloatArray, seen: Activations, count: int
) -> FloatArray:
    """``sign · (∂y_index − ∂y_against)``, (N, K, h, w): the gradients of `against` follow those of the indices."""
    others = iter(gradients[count:])
    changed: dict[int, FloatArray] = {}
    for row, each in enumerate(placed):
        own, other = gradients[row], None if each.against is None else next(others)
        gradient = own if other is None else own - other
        entries = None if seen.entries is None else seen.entries[row, each.first : each.first + each.head.entries]
        if is_rounding(each, gradient, own, other, seen.features[row], entries):
            changed[row] = np.zeros_like(own)
        elif not each.is_single:
            changed[row] = gradient if each.sign > 0 else -gradient
    if not changed:
        return gradients[:count]
    return np.stack([changed.get(row, gradients[row]) for row in range(count)])


def run_gradients(
    engine: Engine,
    batch_nchw: FloatArray,
    placed: PlacedTarget,
    layer: LayerSpec,
    regions: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Features and combined gradients, each (N, K, h, w), of one settled target for a batch of the model's input.

    `regions`: those of the copies, (N, 1, h, w), instead of the target's own; the gradient of a copy with an empty one
    is zero. A difference takes two runs.
    """
    empty: list[bool] = [regions is not None and not regions[row].any() for row in range(len(batch_nchw))]
    if regions is not None:
        regions = np.where(np.array(empty)[:, None, None, None], np.float32(1), regions)
    read = [layer.features, layer.gradients, *([head_output(placed.head)] if placed.head.logits is not None else [])]
    given = {"reference": placed.reference, "region": placed.region if regions is None else regions}
    aims = {name: each for name, each in given.items() if each is not None}

    def run(index: int) -> list[AnyArray]:
        return engine.run(batch_nchw, read, np.full(len(batch_nchw), index, np.int64), layer.name, **aims)

    features, own, *outputs = run(placed.index)
    other = None if placed.against is None else run(placed.against)[1]
    entries = [head_scalars(placed.head, output, **aims) for output in outputs]
    gradients = own if other is None else own - other
    gradients = gradients if placed.sign > 0 else -gradients
    rounding = [
        empty[row]
        or is_rounding(
            placed,
            gradients[row],
            own[row],
            None if other is None else other[row],
            features[row],
            entries[0][row] if entries else None,
        )
        for row in range(len(batch_nchw))
    ]
    if any(rounding):
        gradients = np.where(np.array(rounding)[:, None, None, None], np.float32(0), gradients)
    return features, gradients


def is_rounding(
    placed: PlacedTarget,
    gradient: FloatArray,
    own: FloatArray,
    other: FloatArray | None,
    features: FloatArray,
    entries: npt.NDArray[np.floating] | None,
) -> bool:
    """Whether a gradient (K, h, w) is rounding: ``Σ |g ∘ A|``, the most that the features change y, is too small.

    Too small is a float32 epsilon of the head's largest number, which y cannot show; 64 of them for a cosine, which is
    at most 1; and for a difference 4 epsilons of what its two parts change.
    """
    effect = _effect(gradient, features)
    if not np.isfinite(effect) or effect == 0:
        return False
    if placed.head.kind == "embedding":
        return effect < _COSINE_ROUNDING * _EPSILON
    if other is not None:
        return effect < _DIFFERENCE_ROUNDING * _EPSILON * (_effect(own, features) + _effect(other, features))
    if entries is None or not np.isfinite(entries).any():
        return False
    return effect < _EPSILON * float(np.nanmax(np.abs(entries)))


def _effect(gradient: FloatArray, features: FloatArray) -> float:
    return float(np.abs(gradient * features).sum(dtype=np.float64))


def stack_aims(rows: Sequence[PlacedTarget]) -> tuple[FloatArray | None, FloatArray | None]:
    """References (N, D) and regions (N, 1, h, w) of several targets; None where no target has one.

    A target without a reference has ones in its row, which it does not use.
    """
    return _stack([each.reference for each in rows]), _stack([each.region for each in rows])


def _stack(given: Sequence[FloatArray | None]) -> FloatArray | None:
    known = next((each for each in given if each is not None), None)
    if known is None:
        return None
    return np.concatenate([np.ones_like(known) if each is None else each for each in given])
