"""Options for detectors: how the outputs are laid out, and which of the candidates are detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.options.gather import gather, stack
from onnxplain.contract.detectors import LAYOUTS
from onnxplain.errors import OnnxplainError

if TYPE_CHECKING:
    from onnxplain.runtime import Detections, Engine
    from onnxplain.runtime.image import ImageLike

detector_option = click.option(
    "--detector",
    type=click.Choice(list(LAYOUTS)),
    metavar="LAYOUT",
    help="How the outputs of a detector are laid out. Needed only if it cannot be told: then names and operators of "
    "the graph do not count, only shapes. docs/detectors.md lists the layouts.",
)


@dataclass(frozen=True)
class DetectionThresholds:
    """Which candidates are detections. None: not given, the usual value."""

    min_score: float | None = None
    iou: float | None = None

    def check(self, engine: Engine) -> None:
        """Raise OnnxplainError if one is given for a model that is no detector."""
        given = [name for name, value in (("--min-score", self.min_score), ("--iou", self.iou)) if value is not None]
        if given and engine.spec.detector is None:
            raise OnnxplainError(
                f"{engine.source}: found a model with classes, expected a detector for {' and '.join(given)}: leave "
                "this out, or state the layout of its outputs with --detector"
            )

    def as_json(self, engine: Engine) -> dict[str, Any] | None:
        """What decides which candidates of a detector are detections, for ``run.json``; None for other models."""
        from onnxplain.runtime.detection.detections import DEFAULT_MAX_IOU, DEFAULT_MIN_SCORE

        if engine.spec.detector is None:
            return None
        return {
            "layout": engine.spec.detector.layout_name,
            "min_score": DEFAULT_MIN_SCORE if self.min_score is None else self.min_score,
            "iou": DEFAULT_MAX_IOU if self.iou is None else self.iou,
        }

    @property
    def given(self) -> dict[str, float]:
        """Those that were given, by name."""
        values = {"min_score": self.min_score, "iou": self.iou}
        return {name: value for name, value in values.items() if value is not None}

    def detect(self, engine: Engine, image: ImageLike) -> Detections:
        """The detections of one image."""
        return engine.detect(image, **self.given)[0]


threshold_options = stack(
    click.option(
        "--min-score",
        type=click.FloatRange(min=0, max=1),
        metavar="T",
        help="For detectors: the score that a detection needs. Default: 0.25.",
    ),
    click.option(
        "--iou",
        type=click.FloatRange(min=0, max=1),
        metavar="T",
        help="For detectors: of detections of one class that overlap by more than this intersection over union, the "
        "best one stays. It has no meaning for models that suppress overlapping boxes themselves. Default: 0.45.",
    ),
    gather("thresholds", DetectionThresholds),
)
"""Give a command these options; it receives them as one `DetectionThresholds` called `thresholds`."""
