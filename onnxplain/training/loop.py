"""The training loop: epochs over batches, a cosine schedule; the best weights are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from onnxplain.data.boxes import cxcywh_to_xyxy, paired_iou
from onnxplain.errors import OnnxplainError
from onnxplain.training.localizer import Localizer
from onnxplain.training.loss import BoxLoss, localization_loss
from onnxplain.training.score import LocalizationScore


class TrainBatch(NamedTuple):
    """`images` float32 (N, 3, H, W), `classes` int64 (N,), `boxes` float32 (N, 4) cxcywh, shares of the input; None
    if only labels are learnt."""

    images: torch.Tensor
    classes: torch.Tensor
    boxes: torch.Tensor | None = None


@dataclass(frozen=True)
class LoopConfig:
    """`epochs` of `steps` batches each. `learning_rate` is the peak of one warm-up and cosine decay over all epochs.
    `box_weight` scales the box term of the loss; `box_loss` is its type. `seed`: of random numbers in the network, such
    as dropout."""

    epochs: int
    steps: int
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    box_weight: float = 2.0
    box_loss: BoxLoss = "l2"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps < 1:
            raise OnnxplainError(f"training: found {self.epochs} epochs of {self.steps} steps, expected at least 1")


@dataclass(frozen=True)
class TrainingProgress:
    """Progress after a step: `epoch` and `step` count from 1; the other numbers are means over the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    mean_iou: float | None
    """None if only labels are learnt."""
    validation: LocalizationScore | None = None
    """Present after the last step of an epoch."""


@dataclass(frozen=True, eq=False)
class LoopState:
    """A training between two epochs: validation scores of the finished epochs, and state dicts for the next one. The
    state dicts share memory with the training: save them before it continues."""

    scores: tuple[LocalizationScore, ...]
    module: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]


ProgressCallback = Callable[[TrainingProgress], None]


def fit(
    module: Localizer,
    batches: Callable[[int], Iterable[TrainBatch]],
    validate: Callable[[Localizer], LocalizationScore],
    config: LoopConfig,
    *,
    on_best: Callable[[LocalizationScore], None],
    on_state: Callable[[LoopState], None] | None = None,
    resume: LoopState | None = None,
    progress: ProgressCallback | None = None,
) -> LocalizationScore:
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
    scores: list[LocalizationScore] = []
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
                running.add(*_step(module, batch, optimizer, config))
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
    """Means over the images of an epoch so far."""

    def __init__(self) -> None:
        self.images = 0
        self.sums = np.zeros(3)

    def add(self, loss: float, hits: npt.NDArray[np.bool_], overlaps: npt.NDArray[np.float32] | None) -> None:
        self.images += len(hits)
        self.sums += (loss * len(hits), hits.sum(), np.nan if overlaps is None else overlaps.sum())

    def progress(
        self, epoch: int, step: int, config: LoopConfig, score: LocalizationScore | None = None
    ) -> TrainingProgress:
        loss, accuracy, overlap = (float(value) for value in self.sums / max(self.images, 1))
        mean_iou = None if math.isnan(overlap) else overlap
        return TrainingProgress(epoch + 1, config.epochs, step, config.steps, loss, accuracy, mean_iou, score)


def _step(
    module: Localizer, batch: TrainBatch, optimizer: torch.optim.Optimizer, config: LoopConfig
) -> tuple[float, npt.NDArray[np.bool_], npt.NDArray[np.float32] | None]:
    """One update; returns the batch's loss, right labels and overlaps from before the update."""
    optimizer.zero_grad()
    logits, boxes = module.heads(batch.images.contiguous(memory_format=torch.channels_last))
    overlaps = None
    if boxes is None or batch.boxes is None:
        total = torch.nn.functional.cross_entropy(logits, batch.classes)
    else:
        loss = localization_loss(logits, boxes, batch.classes, batch.boxes, config.box_weight, config.box_loss)
        total = loss.total
        overlaps = paired_iou(cxcywh_to_xyxy(boxes.detach().numpy()), cxcywh_to_xyxy(batch.boxes.numpy()))
    value = total.item()
    if not math.isfinite(value):
        raise OnnxplainError(f"training: the loss became {value}: lower the learning rate ({config.learning_rate:g})")
    total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    hits = (logits.argmax(dim=1) == batch.classes).numpy()
    return value, hits, overlaps
