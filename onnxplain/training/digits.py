"""The recipe for the digits localizer that ships with onnxplain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from onnxplain.contract import Preprocessing
from onnxplain.data import open_dataset
from onnxplain.data.boxes import xyxy_to_cxcywh
from onnxplain.data.digits.scenes import DIGIT_LABELS, DigitScenes
from onnxplain.data.formats.parts import Part
from onnxplain.data.inputs import model_inputs
from onnxplain.data.open import DIGITS
from onnxplain.data.record import Record
from onnxplain.errors import OnnxplainError
from onnxplain.training.backbone import SMALL_PREPROCESSING, backbone_preprocessing
from onnxplain.training.localizer import Localizer, build_localizer
from onnxplain.training.options import TrainingOptions
from onnxplain.training.photos import Photos, read_photos, score_photos
from onnxplain.training.prediction import localizer_predict
from onnxplain.training.score import LocalizationScore, Predict, score_predictions, true_boxes
from onnxplain.training.step import TrainBatch
from onnxplain.training.training import Training

DIGITS_OPTIONS = TrainingOptions(
    widths=(16, 48, 96), size_hw=(64, 64), epochs=20, batch_size=64, learning_rate=4e-3, augmentation=None
)
IMAGES_PER_EPOCH = 20_000
VALIDATION_IMAGES = 1_000
TEST_IMAGES = 1_000


def digits_training(options: TrainingOptions = DIGITS_OPTIONS, *, images_per_epoch: int = IMAGES_PER_EPOCH) -> Training:
    """A training of the digits localizer from scratch, ready to run.

    No scene is used twice. The same seed, versions and thread count give the same weights. Raises OnnxplainError for
    fewer images than one batch, for augmentation (scenes vary as they are drawn), and for a supervision that the digits
    do not have.
    """
    if options.supervision not in ("boxes", "labels"):
        raise OnnxplainError(f"digits: found supervision {options.supervision}, expected boxes or labels")
    if options.augmentation is not None:
        raise OnnxplainError("digits: found augmentation, expected none: scenes vary as they are drawn")
    loop = options.loop(images_per_epoch // options.batch_size)
    module = build_localizer(options.localizer(len(DIGIT_LABELS)), options.seed, pretrained=options.pretrained)
    preprocessing = backbone_preprocessing(options.backbone)
    validation = _photos("validation", VALIDATION_IMAGES, options.seed, options.size_hw)
    return Training(
        module=module,
        labels=DIGIT_LABELS,
        preprocessing=preprocessing,
        loop=loop,
        batches=lambda epoch: digit_batches(epoch * loop.steps, loop.steps, options, preprocessing),
        validate=lambda module: score_photos(module, validation, preprocessing),
        test=lambda module: score_photos(module, _photos("test", TEST_IMAGES, 0, options.size_hw), preprocessing),
        data={"images": "digits", "pretrained": options.pretrained, "batch_size": options.batch_size},
    )


def build_digits_localizer(seed: int = 0) -> Localizer:
    """The untrained network of the recipe; its weights depend only on `seed`."""
    return build_localizer(DIGITS_OPTIONS.localizer(len(DIGIT_LABELS)), seed)


def evaluate_digits(model: Localizer | Predict, count: int = TEST_IMAGES, seed: int = 0) -> LocalizationScore:
    """Score `model` on `count` scenes whose digit samples and texture regions are not used in training.

    `model`: a localizer of the recipe, or a callable from images, uint8 (H, W, 3) RGB, to class ids (N,) and boxes
    (N, 4), xyxy in pixels of each image. So this function also scores an exported file.
    """
    return score_digits(model, DigitScenes("test", count, seed=seed))


def score_digits(model: Localizer | Predict, records: Sequence[Record]) -> LocalizationScore:
    """Score `model` on digit records."""
    predict = localizer_predict(model, SMALL_PREPROCESSING) if isinstance(model, Localizer) else model
    return score_predictions(predict, records, DIGIT_LABELS)


def digit_batches(
    first: int,
    count: int,
    options: TrainingOptions = DIGITS_OPTIONS,
    preprocessing: Preprocessing = SMALL_PREPROCESSING,
) -> Iterator[TrainBatch]:
    """`count` training batches from number `first` on, each with `options.batch_size` scenes."""
    size = options.batch_size
    for number in range(first, first + count):
        scenes = DigitScenes("train", size, seed=options.seed, start=number * size)
        yield train_batch(list(scenes), options.size_hw, preprocessing)


def train_batch(
    records: Sequence[Record], size_hw: tuple[int, int], preprocessing: Preprocessing = SMALL_PREPROCESSING
) -> TrainBatch:
    """Digit records, each with one box, as one batch for a network with input size `size_hw`."""
    images = [record.load() for record in records]
    sizes_whwh = np.array([image.shape[1::-1] * 2 for image in images], np.float32)
    return TrainBatch(
        images=torch.from_numpy(model_inputs(images, size_hw, preprocessing)),
        truths=torch.tensor([DIGIT_LABELS.index(record.label) for record in records]),
        boxes=torch.from_numpy(xyxy_to_cxcywh(true_boxes(records) / sizes_whwh)),
    )


def _photos(part: Part, count: int, seed: int, size_hw: tuple[int, int]) -> Photos:
    return read_photos(open_dataset(DIGITS, split=part, count=count, seed=seed), size_hw, [], strict=True)
