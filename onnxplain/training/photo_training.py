"""The recipe for training on your own photos."""

from __future__ import annotations

from dataclasses import dataclass

from onnxplain.data import DataSet, Problem
from onnxplain.errors import OnnxplainError
from onnxplain.training.backbone import backbone_preprocessing
from onnxplain.training.localizer import Localizer, build_localizer
from onnxplain.training.options import TrainingOptions
from onnxplain.training.parts import Parts
from onnxplain.training.photos import (
    Photos,
    photo_batches,
    read_photos,
    score_constant,
    score_photos,
    steps_per_epoch,
)
from onnxplain.training.score import LocalizationScore
from onnxplain.training.training import Training


@dataclass(frozen=True, eq=False)
class PhotoParts:
    """The images of `Parts` after reading; `problems`: those that could not be read."""

    train: Photos
    validation: Photos
    test: Photos | None
    problems: tuple[Problem, ...]

    def constant(self) -> LocalizationScore | None:
        """The score of a constant prediction on the test images: the most frequent label and the mean box of the
        training images. None if there are no test images, or an image has no box."""
        if self.test is None or not all(map(len, (*self.train.boxes_xyxy, *self.test.boxes_xyxy))):
            return None
        return score_constant(self.train, self.test)


def read_parts(parts: Parts, size_hw: tuple[int, int], *, strict: bool = False) -> PhotoParts:
    """Read every image of every part; see `read_photos`."""
    problems: list[Problem] = []

    def read(dataset: DataSet) -> Photos:
        return read_photos(dataset, size_hw, problems, strict=strict)

    train, validation = read(parts.train), read(parts.validation)
    test = None if parts.test is None else read(parts.test)
    return PhotoParts(train, validation, test, tuple(dict.fromkeys(problems)))


def photo_training(photos: PhotoParts, options: TrainingOptions) -> Training:
    """A training of a localizer on photos, ready to run.

    Raises OnnxplainError for a backbone that cannot be built, and for photos of another size than `options.size_hw`.
    """
    if photos.train.size_hw != options.size_hw:
        raise OnnxplainError(f"training: found photos of {photos.train.size_hw}, expected {options.size_hw}")
    module = build_localizer(options.localizer(len(photos.train.labels)), options.seed, pretrained=options.pretrained)
    preprocessing = backbone_preprocessing(options.backbone)
    with_boxes = options.supervision == "boxes"
    train, test = photos.train, photos.test

    def score(module: Localizer, part: Photos) -> LocalizationScore:
        return score_photos(module, part, preprocessing)

    return Training(
        module=module,
        labels=train.labels,
        preprocessing=preprocessing,
        loop=options.loop(steps_per_epoch(train, options.batch_size)),
        batches=lambda epoch: photo_batches(
            train,
            epoch,
            options.batch_size,
            preprocessing,
            seed=options.seed,
            augmentation=options.augmentation,
            with_boxes=with_boxes,
        ),
        validate=lambda module: score(module, photos.validation),
        test=None if test is None else lambda module: score(module, test),
        data={
            "images": (train.digest, photos.validation.digest),
            "pretrained": options.pretrained,
            "batch_size": options.batch_size,
            "augmentation": repr(options.augmentation),
        },
    )
