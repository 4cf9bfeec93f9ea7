"""The settings of a training loop."""

from __future__ import annotations

from dataclasses import dataclass

from onnxplain.errors import OnnxplainError
from onnxplain.training.loss import BoxLoss, NumberLoss


@dataclass(frozen=True)
class LoopConfig:
    """`epochs` of `steps` batches each. `learning_rate` is the peak of one warm-up and cosine decay over all epochs.
    `box_weight` scales the box term of the loss; `box_loss` is its type, `number_loss` that of a number. `seed`: of
    random numbers in the network, such as dropout."""

    epochs: int
    steps: int
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    box_weight: float = 2.0
    box_loss: BoxLoss = "l2"
    number_loss: NumberLoss = "huber"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps < 1:
            raise OnnxplainError(f"training: found {self.epochs} epochs of {self.steps} steps, expected at least 1")
