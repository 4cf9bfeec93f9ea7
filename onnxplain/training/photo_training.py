"""The recipe for training on your own photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from onnxplain.data import DataSet, Problem
from onnxplain.errors import OnnxplainError
from onnxplain.training.backbone import backbone_preprocessing
from onnxplain.training.localizer import Localizer, build_localizer
from onnxplain.training.options import Supervision, TrainingOptions
from onnxplain.training.parts import Parts
from onnxplain.training.photos import (
    Photos,
    photo_batches,
    read_photos,
    score_constant,
    score_photos,
    steps_per_epoch,
)
from onnxplain.training.score import Score, score_labels, score_numbers
from onnxplain.training.training import Training


@dataclass(frozen=True, eq=False)
class PhotoParts:
    """The images of `Parts` after reading; `problems`: those that could not be read. `supervision`: what they teach."""

    train: Photos
    validation: Photos
    test: Photos | None
    problems: tuple[Problem, ...]
    supervision: Supervision = "boxes"

    def constant(self) -> Score | None:
        """The score on the test images of a prediction that does not look: the most frequent label and the mean box of
        the training images; their share of each label; their median number. None if there are no test images, or an
        image has no box."""
        if self.test is None:
            return None
        if self.supervision == "multi-label":
            shares = self.train.truths.mean(axis=0, dtype=np.float64).astype(np.float32)
            return score_labels((shares - 0.5)[None].repeat(len(self.test), axis=0), _floats(self.test))
        if self.supervision == "number":
            middle = np.median(self.train.truths, axis=0, keepdims=True).astype(np.float32)
            return score_numbers(middle.repeat(len(self.test), axis=0), _floats(self.test))
        if not all(map(len, (*self.train.boxes_xyxy, *self.test.boxes_xyxy))):
            return None
        return score_constant(self.train, self.test)


def read_parts(
    parts: Parts, size_hw: tuple[int, int], supervision: Supervision = "boxes", *, strict: bool = False
) -> PhotoParts:
    """Read every image of every part; see `read_photos`. `parts`: those that are usable for `supervision`."""
    problems: list[Problem] = []

    def read(dataset: DataSet) -> Photos:
        return read_photos(dataset, size_hw, problems, supervision=supervision, strict=strict)

    train, validation = read(parts.train), read(parts.validation)
    test = None if parts.test is None else read(parts.test)
    return PhotoParts(train, validation, test, tuple(dict.fromkeys(problems)), supervision)


def photo_training(photos: PhotoParts, options: TrainingOptions) -> Training:
    """A training of a network on photos, ready to run.

    Raises OnnxplainError for a backbone that cannot be built, and for photos of another size than `options.size_hw` or
    read for something else than `options.supervision`.
    """
    if photos.train.size_hw != options.size_hw:
        raise OnnxplainError(f"training: found photos of {photos.train.size_hw}, expected {options.size_hw}")
    with_truths = photos.supervision in ("multi-label", "number")
    if (with_truths or options.supervision in ("multi-label", "number")) and photos.supervision != options.supervision:
        raise OnnxplainError(
            f"training: found photos read for {photos.supervision}, expected {options.supervision}: read them for it"
        )
    module = build_localizer(options.localizer(len(photos.train.labels)), options.seed, pretrained=options.pretrained)
    if options.supervision == "number":
        module.expect_numbers(torch.from_numpy(_floats(photos.train)))
    preprocessing = backbone_preprocessing(options.backbone)
    with_boxes = options.supervision == "boxes"
    train, test = photos.train, photos.test

    def score(module: Localizer, part: Photos) -> Score:
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


def _floats(photos: Photos) -> npt.NDArray[np.float32]:
    """Labels or numbers as float32 (N, L)."""
    return photos.truths.astype(np.float32, copy=False)
