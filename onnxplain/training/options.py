"""The options of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from onnxplain.errors import OnnxplainError
from onnxplain.training.augmentation import Augmentation
from onnxplain.training.backbone import SMALL
from onnxplain.training.localizer import AnswerKind, LocalizerConfig
from onnxplain.training.loop_config import LoopConfig
from onnxplain.training.loss import BoxLoss, NumberLoss

Supervision = Literal["boxes", "labels", "multi-label", "number"]
ANSWERS: Mapping[Supervision, AnswerKind] = {
    "boxes": "classes",
    "labels": "classes",
    "multi-label": "labels",
    "number": "values",
}

BOX_CHANNELS = 16


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that a training depends on, except its images.

    `supervision`: ``boxes`` learns label and box; ``labels`` learns one label per image; ``multi-label`` learns any
    number of labels per image; ``number`` learns a number. `backbone`, `pretrained`: see `build_backbone`; `widths` are
    those of the small one. `size_hw`: of the input. `learning_rate`: the peak. `box_weight`, `box_loss`: of the box
    term. `number_loss`: of a number. `augmentation`: None uses every image unchanged. `seed`: for
    weights, order and augmentation. Raises OnnxplainError for numbers out of range, a size that the small backbone
    cannot halve in every stage, and unknown names.
    """

    supervision: Supervision = "boxes"
    backbone: str = SMALL
    pretrained: bool = False
    widths: tuple[int, ...] = (16, 48, 96)
    size_hw: tuple[int, int] = (128, 128)
    epochs: int = 200
    batch_size: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    box_weight: float = 2.0
    box_loss: BoxLoss = "l2"
    number_loss: NumberLoss = "huber"
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    seed: int = 0

    def __post_init__(self) -> None:
        choices: tuple[tuple[str, Any], ...] = (
            ("supervision", Supervision),
            ("box_loss", BoxLoss),
            ("number_loss", NumberLoss),
        )
        for name, choice in choices:
            if getattr(self, name) not in get_args(choice):
                expected = " or ".join(get_args(choice))
                raise OnnxplainError(f"{name}: found {getattr(self, name)!r}, expected {expected}")
        self.localizer(classes=1)  # checks backbone and size
        if min(self.epochs, self.batch_size) < 1 or self.seed < 0:
            raise OnnxplainError(
                f"training: found {self.epochs} epochs, batches of {self.batch_size}, seed {self.seed}, expected at "
                "least 1, 1 and 0"
            )
        rates = (self.learning_rate, self.weight_decay, self.box_weight)
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates) or not self.learning_rate:
            raise OnnxplainError(
                f"training: found learning rate {self.learning_rate}, weight decay {self.weight_decay}, box weight "
                f"{self.box_weight}, expected a rate above 0, the others at least 0"
            )

    def localizer(self, classes: int) -> LocalizerConfig:
        """The configuration of the network for this number of classes."""
        return LocalizerConfig(
            classes,
            self.size_hw,
            self.widths,
            box_channels=BOX_CHANNELS if self.supervision == "boxes" else 0,
            backbone=self.backbone,
            answer=ANSWERS[self.supervision],
        )

    def loop(self, steps: int) -> LoopConfig:
        """The configuration of the training loop with this number of steps per epoch."""
        return LoopConfig(
            epochs=self.epochs,
            steps=steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            box_weight=self.box_weight,
            box_loss=self.box_loss,
            number_loss=self.number_loss,
            seed=self.seed,
        )
