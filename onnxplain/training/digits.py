"""The recipe for the digits localizer that ships with onnxplain."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from onnxplain.contract import Preprocessing
from onnxplain.data.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from onnxplain.data.digits import DIGIT_LABELS, DigitScenes
from onnxplain.data.inputs import model_inputs
from onnxplain.data.record import Record
from onnxplain.training.checkpoint import load_checkpoint, require_writable, save_checkpoint
from onnxplain.training.localizer import Localizer, LocalizerConfig
from onnxplain.training.loop import LoopConfig, ProgressCallback, TrainBatch, fit
from onnxplain.training.score import LocalizationScore, Predict, score_predictions, true_boxes

DIGITS_PREPROCESSING = Preprocessing("rgb", 1 / 255, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), resize="stretch")

EPOCHS = 20
IMAGES_PER_EPOCH = 20_000
BATCH_SIZE = 64
VALIDATION_IMAGES = 1_000


@dataclass(frozen=True)
class TrainingReport:
    """What a training reached: `validation` chose the kept weights, `test` was looked at once, at the end."""

    checkpoint: Path
    parameters: int
    seed: int
    epochs: int
    images: int
    seconds: float
    validation: LocalizationScore
    test: LocalizationScore


def train_digits(
    checkpoint_path: str | os.PathLike[str],
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    images_per_epoch: int = IMAGES_PER_EPOCH,
    progress: ProgressCallback | None = None,
) -> TrainingReport:
    """Train the digits localizer from scratch and write its best weights to `checkpoint_path`.

    No scene is shown twice. The same seed, versions and thread count give the same weights. The global random
    state is left as it was. Raises OnnxplainError for numbers under 1 and for a path that cannot be written.
    """
    config = LoopConfig(epochs, images_per_epoch // BATCH_SIZE)
    started = time.perf_counter()
    module = build_digits_localizer(seed)
    require_writable(checkpoint_path)
    validation = fit(
        module,
        lambda epoch: digit_batches(epoch * config.steps, config.steps, seed=seed),
        lambda trained: score_digits(trained, DigitScenes("validation", VALIDATION_IMAGES, seed=seed)),
        config,
        on_best=lambda _: save_checkpoint(checkpoint_path, module, DIGIT_LABELS, DIGITS_PREPROCESSING),
        progress=progress,
    )
    return TrainingReport(
        checkpoint=Path(checkpoint_path),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        seed=seed,
        epochs=epochs,
        images=epochs * config.steps * BATCH_SIZE,
        seconds=time.perf_counter() - started,
        validation=validation,
        test=evaluate_digits(load_checkpoint(checkpoint_path).module),
    )


def build_digits_localizer(seed: int = 0) -> Localizer:
    """The untrained network of the recipe; its weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Localizer(LocalizerConfig(classes=len(DIGIT_LABELS)))


def evaluate_digits(model: Localizer | Predict, count: int = 1_000, seed: int = 0) -> LocalizationScore:
    """Score `model` on `count` scenes whose digit samples and texture regions were not trained on.

    `model` is a localizer, or a callable from images, uint8 (H, W, 3) RGB, to class ids (N,) and boxes (N, 4),
    xyxy in pixels of each image; so an exported file is scored by the same function.
    """
    return score_digits(model, DigitScenes("test", count, seed=seed))


def score_digits(model: Localizer | Predict, records: Sequence[Record]) -> LocalizationScore:
    """Score `model` on digit records."""
    predict = localizer_predict(model) if isinstance(model, Localizer) else model
    return score_predictions(predict, records, DIGIT_LABELS)


def localizer_predict(module: Localizer, preprocessing: Preprocessing = DIGITS_PREPROCESSING) -> Predict:
    """The prediction function of a localizer in PyTorch; leaves the module's training mode as it was."""

    def predict(
        images: Sequence[npt.NDArray[np.uint8]],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        inputs = torch.from_numpy(model_inputs(images, module.config.size_hw, preprocessing))
        was_training = module.training
        module.eval()
        try:
            with torch.inference_mode():
                logits, boxes = module(inputs)
        finally:
            module.train(was_training)
        sizes_whwh = np.array([image.shape[1::-1] * 2 for image in images], np.float32)
        return logits.argmax(dim=1).numpy(), cxcywh_to_xyxy(boxes.numpy()) * sizes_whwh

    return predict


def digit_batches(
    first: int, count: int, *, seed: int = 0, size_hw: tuple[int, int] = (64, 64)
) -> Iterator[TrainBatch]:
    """Training batches number `first` to `first` + `count`, each of BATCH_SIZE scenes."""
    for number in range(first, first + count):
        scenes = DigitScenes("train", BATCH_SIZE, seed=seed, start=number * BATCH_SIZE)
        yield train_batch(list(scenes), size_hw)


def train_batch(records: Sequence[Record], size_hw: tuple[int, int]) -> TrainBatch:
    """Digit records, each of one box, as one batch for a network of input size `size_hw`."""
    images = [record.load() for record in records]
    sizes_whwh = np.array([image.shape[1::-1] * 2 for image in images], np.float32)
    return TrainBatch(
        images=torch.from_numpy(model_inputs(images, size_hw, DIGITS_PREPROCESSING)),
        classes=torch.tensor([DIGIT_LABELS.index(record.label) for record in records]),
        boxes=torch.from_numpy(xyxy_to_cxcywh(true_boxes(records) / sizes_whwh)),
    )
