"""The training loop: epochs over batches, a cosine schedule; the best weights are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from onnxplain.errors import OnnxplainError
from onnxplain.training.localizer import Localizer
from onnxplain.training.loop_config import LoopConfig
from onnxplain.training.score import Score
from onnxplain.training.step import LEARNED, Learned, TrainBatch


@dataclass(frozen=True)
class TrainingProgress:
    """Progress after a step: `epoch` and `step` count from 1; the other numbers are means over the epoch so far, None
    for what is not learnt. `mean_error`: of a number, absolute, in its unit."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float | None
    mean_iou: float | None
    validation: Score | None = None
    """Present after the last step of an epoch."""
    mean_error: float | None = None


@dataclass(frozen=True, eq=False)
class LoopState:
    """A training between two epochs: validation scores of the finished epochs, and state dicts for the next one. The
    state dicts share memory with the training: save them before it continues."""

    scores: tuple[Score, ...]
    module: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]


ProgressCallback = Callable[[TrainingProgress], None]


def fit(
    module: Localizer,
    batches: Callable[[int], Iterable[TrainBatch]],
    validate: Callable[[Localizer], Score],
    config: LoopConfig,
    *,
    on_best: Callable[[Score], None],
    on_state: Callable[[LoopState], None] | None = None,
    resume: LoopState | None = None,
    progress: ProgressCallback | None = None,
) -> Score:
    """Train `module` in place; returns the best validation score, by `quality`.

    ``batches(epoch)`` gives the `config.steps` batches of an epoch, counted from 0. `validate` is called after
    each epoch, and `on_best` whenever its score is the best so far, while `module` holds those weights. `on_state` is
    called before the first epoch and after each epoch. A training that resumes from such a state (`resume`) has the
    same result as one that never stopped. torch's random state is not changed. Raises OnnxplainError if the loss
    becomes NaN or infinite.
    """
    # About a quarter faster on a CPU; torch's annotations leave out this form of `to`.
    module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.epochs * config.steps, pct_start=0.1, cycle_momentum=False
    )
    scores: list[Score] = []
    if resume is not None:
        scores += resume.scores
        try:
            module.load_state_dict(resume.module)
            optimizer.load_state_dict(resume.optimizer)
            schedule.load_state_dict(resume.schedule)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OnnxplainError("training: the state to resume does not fit the network: start again") from error

    def tell_state() -> None:
        if on_state is not None:
            on_state(LoopState(tuple(scores), module.state_dict(), optimizer.state_dict(), schedule.state_dict()))

    if resume is None:
        tell_state()
    for epoch in range(len(scores), config.epochs):
        running = _Running()
        with torch.random.fork_rng(devices=[]):
            # Random numbers depend on the epoch, not on earlier ones, so that a resumed training gets the same.
            torch.manual_seed(config.seed * config.epochs + epoch)
            for step, batch in enumerate(batches(epoch), start=1):
                running.add(_step(module, batch, optimizer, config))
                schedule.step()
                if step < config.steps and progress:
                    progress(running.progress(epoch, step, config))
        score = validate(module)
        if all(score.quality > earlier.quality for earlier in scores):
            on_best(score)
        scores.append(score)
        tell_state()
        if progress:
            progress(running.progress(epoch, config.steps, config, score))
    return max(scores, key=lambda score: score.quality)


class _Running:
    """Means over the images of an epoch so far; NaN for what a step does not measure."""

    def __init__(self) -> None:
        self.images = 0
        self.sums = np.zeros(4)

    def add(self, learned: Learned) -> None:
        self.images += learned.images
        measured = (learned.hits, learned.overlaps, learned.errors)
        sums = (np.nan if values is None else float(values.sum()) for values in measured)
        self.sums += (learned.loss.item() * learned.images, *sums)

    def progress(self, epoch: int, step: int, config: LoopConfig, score: Score | None = None) -> TrainingProgress:
        loss, *measured = (float(value) for value in self.sums / max(self.images, 1))
        accuracy, mean_iou, mean_error = (None if math.isnan(value) else value for value in measured)
        return TrainingProgress(
            epoch + 1, config.epochs, step, config.steps, loss, accuracy, mean_iou, score, mean_error
        )


def _step(module: Localizer, batch: TrainBatch, optimizer: torch.optim.Optimizer, config: LoopConfig) -> Learned:
    """One update; returns the batch's loss and what was right before the update."""
    optimizer.zero_grad()
    images = batch.images.contiguous(memory_format=torch.channels_last)
    learned = LEARNED[module.config.answer](module, batch._replace(images=images), config)
    value = learned.loss.item()
    if not math.isfinite(value):
        raise OnnxplainError(f"training: the loss became {value}: lower the learning rate ({config.learning_rate:g})")
    learned.loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return learned
