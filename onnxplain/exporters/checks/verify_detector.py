"""The checks of a detector's gradients: class scores and corners of a few candidates, compared with differences."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxplain.contract import LayerSpec, ModelSpec
from onnxplain.errors import VerificationError
from onnxplain.exporters.anatomy.detector_ends import DetectorEnds
from onnxplain.exporters.checks.detection_scalars import DetectionScalar, places_of
from onnxplain.exporters.checks.directional import OpenRun
from onnxplain.exporters.checks.gradient_check import check_derivative, check_finite
from onnxplain.exporters.checks.report import LayerCheck
from onnxplain.exporters.checks.trial_images import feeds_of, plain_feeds
from onnxplain.exporters.checks.witness import Witness
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.values import name_of

_CORNERS = 4
# Smaller gradients, as shares of the largest, are not compared with differences.
_NOTICEABLE = 1e-3


def check_detector_layers(
    ends: DetectorEnds,
    sessions: tuple[GraphSession, GraphSession],
    spec: ModelSpec,
    images: Sequence[np.ndarray],
    witnesses: Sequence[Witness],
) -> tuple[list[LayerCheck], Mapping[DetectionScalar, OpenRun]]:
    """The check of each layer, and the runs of the first image. Raises VerificationError with the check that failed.

    `sessions`: the explainable graph, and the graph before it was instrumented.
    """
    explainable, base = sessions
    captured = [base.run(plain_feeds(spec, image)) for image in images]
    scalars = _scalars(ends, captured[0])
    first = _runs(explainable, spec, images[0], captured[0], scalars)
    # Where the run has other candidates for another image, a scalar may be missing there.
    second = _runs(explainable, spec, images[1], captured[1], _present(ends, scalars, captured[1]))
    checks = []
    for layer, witness in zip(spec.layers, witnesses, strict=True):
        gradients = check_finite(layer, first)
        check_finite(layer, second)
        given = {head.output for head in witness.heads}
        seen = [each for each in _noticeable(gradients) if each.needs <= given]
        if not seen:
            raise VerificationError(
                f"check 'gradient is not zero' failed at layer {layer.name!r}: the tried candidates "
                f"({', '.join(str(each) for each in sorted({scalar.candidate for scalar in scalars}))}) have none on a "
                "random image; choose another layer, or use rise, which needs no gradients"
            )
        _check_differ(layer, gradients, seen)
        both = [each for each in seen if each in second]
        ordered = [*both, *(each for each in seen if each not in both)]
        runs = [{each: first[each] for each in ordered}]
        runs.append({each: second[each] for each in both} if both else runs[0])
        checks.append(check_derivative(layer, witness, runs))
    return checks, first


def _scalars(ends: DetectorEnds, captured: Mapping[str, np.ndarray]) -> list[DetectionScalar]:
    """Of a candidate in the middle of each level the first and the last class, and the four corners."""
    count = _count(ends, captured)
    if not count:
        raise VerificationError(
            "check 'gradient agrees with finite differences' failed: the model finds no candidate on a random image, "
            "so no gradient can be checked; use rise, which needs no gradients"
        )
    classes = ends.spec.class_columns or 1
    columns = [*sorted({0, classes - 1}), *range(classes, classes + _CORNERS)]
    scalars = [DetectionScalar(ends, candidate, column) for candidate in _tried(ends, count) for column in columns]
    if not ends.activations or ends.has_objectness:
        return scalars
    placed = []
    for each in scalars:
        place = None if each.corner is not None else places_of(ends, captured, each)
        if each.corner is not None or place is not None:
            placed.append(replace(each, logit=place))
    return placed


def _tried(ends: DetectorEnds, count: int) -> list[int]:
    """A candidate in the middle of each level; without levels some of all, more towards the end.

    The levels of an SSD follow each other, each a quarter as large as the one before.
    """
    layout, strides = ends.spec.layout, ends.spec.strides
    if not strides:
        return sorted(
            {0, count // 2, count - 1, *(count - 1 - count // 4**level for level in range(1, 4))} & set(range(count))
        )
    found, start = [], 0
    for position, stride in enumerate(strides):
        down, across = (-(-side // stride) for side in ends.size_hw)
        per_cell = layout.per_cell[position] if len(layout.per_cell) == len(strides) else layout.per_cell[0]
        found.append(start + per_cell * (down // 2 * across + across // 2))
        start += per_cell * down * across
    return [candidate for candidate in found if candidate < count]


def _count(ends: DetectorEnds, captured: Mapping[str, np.ndarray]) -> int:
    """The number of candidates in a run."""
    total = 0
    for end in ends.ends:
        if "box" in end.columns:
            shape = captured[name_of(end.value)].shape
            total += int(np.prod([side for letter, side in zip(end.axes, shape, strict=True) if letter in "Mhw"]))
    return total


def _present(
    ends: DetectorEnds, scalars: Sequence[DetectionScalar], captured: Mapping[str, np.ndarray]
) -> list[DetectionScalar]:
    count = _count(ends, captured)
    return [each for each in scalars if each.candidate < count]


def _runs(
    session: GraphSession,
    spec: ModelSpec,
    image: np.ndarray,
    captured: Mapping[str, np.ndarray],
    scalars: Sequence[DetectionScalar],
) -> dict[DetectionScalar, OpenRun]:
    names = [name for layer in spec.layers for name in (layer.features, layer.gradients)]
    return {
        each: OpenRun(session.run(feeds_of(spec, image, each.target, explain=True), names), captured)
        for each in scalars
    }


def _noticeable(gradients: Mapping[DetectionScalar, np.ndarray]) -> list[DetectionScalar]:
    """The scalars that the layer moves noticeably, compared with others in the same unit.

    The rest is zero, or what is left of differences: the expectation over bins of which one has all the weight.
    """
    sizes = {each: float(np.abs(gradient).max()) for each, gradient in gradients.items()}
    largest = {
        is_corner: max((size for each, size in sizes.items() if (each.corner is not None) is is_corner), default=0.0)
        for is_corner in (False, True)
    }
    return [each for each, size in sizes.items() if size > _NOTICEABLE * largest[each.corner is not None]]


def _check_differ(
    layer: LayerSpec, gradients: Mapping[DetectionScalar, np.ndarray], scalars: Sequence[DetectionScalar]
) -> None:
    """Raise VerificationError if class and corner, or two corners, of a candidate have the same gradient."""
    for one, other in itertools.pairwise(scalars):
        if one.candidate == other.candidate and np.array_equal(gradients[one], gradients[other]):
            raise VerificationError(
                f"check 'gradient changes with the target' failed at layer {layer.name!r}: columns {one.column} and "
                f"{other.column} of candidate {one.candidate} have the same gradient; choose another layer"
            )
