"""What a comparison found for one image, and for all: plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from onnxplain.comparison.head_drift import HeadDrift
from onnxplain.comparison.map_drift import MapDrift

# What rounding alone changes in a rank correlation.
NO_DRIFT = 1e-6


@dataclass(frozen=True)
class MethodDrift:
    """One method's maps of one image: first model against second, and `noise`: the first model against itself.

    `noise` is the drift between two seeds; None for a method without random numbers. `statuses`: of both maps.
    """

    method: str
    target: str
    drift: MapDrift
    noise: MapDrift | None
    statuses: tuple[str, str]

    @property
    def beyond_noise(self) -> bool:
        """Whether the maps differ more than two seeds do; for a method without a seed, whether they differ at all."""
        if self.drift.correlation is None:
            return self.statuses[0] != self.statuses[1]
        noise = 1.0 if self.noise is None or self.noise.correlation is None else self.noise.correlation
        return self.drift.correlation < noise - NO_DRIFT

    @property
    def rank(self) -> float:
        """How far the maps are apart, for sorting: 0 for equal maps, more for worse ones."""
        if self.drift.correlation is None:
            return 2.0 if self.statuses[0] != self.statuses[1] else 0.0
        return 1 - self.drift.correlation


@dataclass(frozen=True)
class ImageDrift:
    """One image. `heads`: the answers of the heads that both models have, the default head's first.

    `box_iou`: of the two box heads' boxes. `maps`: empty if what is explained is not in both models. `error`: why the
    image could not be read.
    """

    image: str
    heads: tuple[HeadDrift, ...] = ()
    box_iou: float | None = None
    maps: tuple[MethodDrift, ...] = ()
    error: str = ""

    @property
    def rank(self) -> tuple[float, float, float]:
        """For sorting, worst first: unread images, changed answers, then maps, then scores."""
        maps = max((each.rank for each in self.maps), default=0.0)
        first = 2.0 if self.error else float(any(head.changed is not False for head in self.heads))
        return -first, -maps, -max((abs(head.difference or 0.0) for head in self.heads), default=0.0)

    @property
    def answer(self) -> HeadDrift:
        """The default head's answers."""
        return self.heads[0]

    def to_json(self) -> dict[str, Any]:
        """Plain data without NaN."""
        if self.error:
            return {"image": self.image, "error": self.error}
        return {
            "image": self.image,
            **{name: value for name, value in self.answer.to_json().items() if name not in ("head", "kind")},
            "heads": [head.to_json() for head in self.heads],
            "box_iou": self.box_iou,
            "maps": [
                {
                    "method": each.method,
                    "target": each.target,
                    "correlation": each.drift.correlation,
                    "iou": each.drift.iou,
                    "noise": None if each.noise is None else vars(each.noise),
                    "beyond_noise": each.beyond_noise,
                    "statuses": list(each.statuses),
                }
                for each in self.maps
            ],
        }


@dataclass(frozen=True)
class MethodSummary:
    """One method over all images: medians and the worst, None where nothing was compared."""

    method: str
    compared: int
    correlation: float | None
    worst_correlation: float | None
    iou: float | None
    worst_iou: float | None
    noise: float | None
    beyond_noise: int


def summarise(images: Sequence[ImageDrift]) -> tuple[MethodSummary, ...]:
    """One row per method, in the order of the first image."""
    maps = [each for image in images for each in image.maps]
    summaries = []
    for method in dict.fromkeys(each.method for each in maps):
        ours = [each for each in maps if each.method == method]
        correlations = [each.drift.correlation for each in ours if each.drift.correlation is not None]
        ious = [each.drift.iou for each in ours if each.drift.iou is not None]
        noises = [
            each.noise.correlation for each in ours if each.noise is not None and each.noise.correlation is not None
        ]
        summaries.append(
            MethodSummary(
                method,
                len(correlations),
                *(_median(correlations), min(correlations, default=None)),
                *(_median(ious), min(ious, default=None)),
                _median(noises),
                sum(each.beyond_noise for each in ours),
            )
        )
    return tuple(summaries)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
