"""Options about what is listed of a model's answers: how many classes, which labels, which detections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.detection import DetectionThresholds
from onnxplain.cli.options.gather import gather, stack
from onnxplain.errors import OnnxplainError

if TYPE_CHECKING:
    from onnxplain.runtime import Engine


@dataclass(frozen=True)
class Listing(DetectionThresholds):
    """How many classes or labels are listed, and the scores and overlaps that are allowed; None: the usual value."""

    top_k: int = 1

    @property
    def label_score(self) -> float:
        """The probability from which on labels are listed."""
        from onnxplain.runtime.answers import LABEL_THRESHOLD

        return LABEL_THRESHOLD if self.min_score is None else self.min_score

    def check(self, engine: Engine) -> None:
        """Raise OnnxplainError for what was given in vain: it has no meaning for this kind of model."""
        spec, found, expected = engine.spec, "", ""
        kinds = list(dict.fromkeys(head.kind for head in spec.heads))
        if spec.detector is not None and self.top_k > 1:
            found, expected = "a detector", "a model with classes for --top-k"
        elif spec.detector is None and self.iou is not None:
            found, expected = f"a model with {', '.join(kinds)}", "a detector for --iou"
        elif spec.detector is None and self.min_score is not None and "labels" not in kinds:
            found, expected = f"a model with {', '.join(kinds)}", "a detector, or a model of labels, for --min-score"
        if found:
            raise OnnxplainError(
                f"{engine.path}: found {found}, expected {expected}: leave it out, or state what the outputs are with "
                "--detector or --head"
            )


listing_options = stack(
    click.option(
        "--top-k",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="K",
        help="Number of classes or labels to list per head and image.",
    ),
    click.option(
        "--min-score",
        type=click.FloatRange(min=0, max=1),
        metavar="T",
        help="Labels of a multi-label or binary model: list all whose probability is at least T. Default: 0.5. "
        "Detectors: the score that a detection needs. Default: 0.25.",
    ),
    click.option(
        "--iou",
        type=click.FloatRange(min=0, max=1),
        metavar="T",
        help="Detectors: of detections of one class that overlap by more than this intersection over union, the best "
        "one stays. It has no meaning for models that suppress overlapping boxes themselves. Default: 0.45.",
    ),
    gather("listing", Listing),
)
"""Give a command these options; it receives them as one `Listing` called `listing`."""
