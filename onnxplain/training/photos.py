"""The images of a data set for training: decoded once, at the size of the model's input."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from onnxplain.contract import Preprocessing
from onnxplain.data import DataSet, Problem, Record, load_images
from onnxplain.data.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from onnxplain.data.inputs import model_inputs
from onnxplain.errors import OnnxplainError
from onnxplain.training.augmentation import Augmentation
from onnxplain.training.localizer import Localizer
from onnxplain.training.options import Supervision
from onnxplain.training.prediction import evaluating
from onnxplain.training.score import (
    LocalizationScore,
    Score,
    best_overlaps,
    score_boxes,
    score_labels,
    score_numbers,
)
from onnxplain.training.step import TrainBatch
from onnxplain.training.truths import Truths, one_per_image, read_truths

CACHE_BYTES = 1 << 30
"""If all decoded images together need more than this, each is decoded again whenever it is used."""

_PIXELS = Preprocessing("rgb", resize="stretch")
"""The preprocessing of the model's input without normalisation."""
_SCORED_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Photos:
    """Labelled images at the size of the model's input, whole and stretched.

    `records`: those that could be read. `truths`: what they teach, N rows. `boxes_xyxy`: per image float32 (M, 4),
    shares of width and height. `pixels_nhwc`: uint8 (N, H, W, 3) RGB, exactly what the engine makes at run time; None
    if they need too much memory.
    """

    records: tuple[Record, ...]
    labels: tuple[str, ...]
    truths: Truths
    boxes_xyxy: tuple[npt.NDArray[np.float32], ...]
    size_hw: tuple[int, int]
    pixels_nhwc: npt.NDArray[np.uint8] | None

    def __len__(self) -> int:
        return len(self.records)

    def pixels(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """The images at `indices`, uint8 (n, H, W, 3) RGB; a copy."""
        if self.pixels_nhwc is not None:
            return self.pixels_nhwc[list(indices)]
        return np.stack([_stretch(self.records[index].load(), self.size_hw) for index in indices])

    @property
    def digest(self) -> str:
        """A hash of names, labels and boxes, and of the pixels if they are in memory."""
        sha = hashlib.sha256(repr((self.size_hw, self.labels)).encode())
        for record, boxes in zip(self.records, self.boxes_xyxy, strict=True):
            sha.update(repr((record.name, record.label, boxes.tolist())).encode())
        sha.update(self.truths.tobytes())
        if self.pixels_nhwc is not None:
            sha.update(self.pixels_nhwc.tobytes())
        return sha.hexdigest()[:16]


def read_photos(
    dataset: DataSet,
    size_hw: tuple[int, int],
    problems: list[Problem],
    *,
    supervision: Supervision = "boxes",
    strict: bool = False,
    cache_bytes: int = CACHE_BYTES,
) -> Photos:
    """Read every image of a data set once; those that cannot be read become `problems`.

    `supervision`: what the images teach. `strict`: raise OnnxplainError instead. Also raises it if no image is left.
    """
    images = one_per_image(dataset) if supervision == "multi-label" else dataset
    bytes_each = math.prod(size_hw) * 3
    keep = len(images.records) * bytes_each <= cache_bytes
    pixels = np.empty((len(images.records) if keep else 0, *size_hw, 3), np.uint8)
    records: list[Record] = []
    boxes: list[npt.NDArray[np.float32]] = []
    for record, image_hwc in load_images(images.records, problems, strict=strict):
        if keep:
            pixels[len(records)] = _stretch(image_hwc, size_hw)
        records.append(record)
        shares = record.boxes_xyxy / np.array(image_hwc.shape[1::-1] * 2, np.float32)
        boxes.append(shares.astype(np.float32, copy=False))
    if not records:
        raise OnnxplainError(f"{dataset.name}: found no image that can be read, the last: {problems[-1]}")
    truths = read_truths(dataset, records, supervision)
    kept = pixels[: len(records)] if keep else None
    return Photos(tuple(records), dataset.labels, truths, tuple(boxes), size_hw, kept)


def photo_batches(
    photos: Photos,
    epoch: int,
    batch_size: int,
    preprocessing: Preprocessing,
    *,
    seed: int,
    augmentation: Augmentation | None,
    with_boxes: bool,
) -> Iterator[TrainBatch]:
    """Every image once; order and views depend only on (seed, epoch); the batches have nearly equal size.

    `with_boxes`: every image has one box; it is in the batch, and views keep it visible. Otherwise boxes are not used.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(photos))
    for indices in np.array_split(order, steps_per_epoch(photos, batch_size)):
        images_nhwc = photos.pixels(indices.tolist())
        boxes = np.concatenate([photos.boxes_xyxy[index] for index in indices]) if with_boxes else None
        if augmentation is not None:
            for place, index in enumerate(indices):
                rng = np.random.default_rng([seed, epoch, int(index)])
                _augment(rng, images_nhwc, boxes, place, augmentation)
        yield TrainBatch(
            images=torch.from_numpy(model_inputs(list(images_nhwc), photos.size_hw, preprocessing)),
            truths=torch.from_numpy(photos.truths[indices]),
            boxes=None if boxes is None else torch.from_numpy(xyxy_to_cxcywh(boxes)),
        )


def steps_per_epoch(photos: Photos, batch_size: int) -> int:
    """Number of batches in an epoch, none larger than `batch_size`."""
    return math.ceil(len(photos) / batch_size)


def score_photos(module: Localizer, photos: Photos, preprocessing: Preprocessing) -> Score:
    """Score a network on images; if it has a box head, each image needs at least one box.

    Overlaps are with the nearest true box. They are the same in shares of the image as in pixels.
    """
    found, boxes = [], []
    with evaluating(module):
        for start in range(0, len(photos), _SCORED_AT_ONCE):
            chunk = photos.pixels(range(start, min(start + _SCORED_AT_ONCE, len(photos))))
            batch_answers, batch_boxes = module.heads(
                torch.from_numpy(model_inputs(list(chunk), photos.size_hw, preprocessing))
            )
            found.append(batch_answers)
            boxes += [] if batch_boxes is None else [batch_boxes.numpy()]
    answers = torch.cat(found)
    if module.config.answer == "labels":
        return score_labels(answers.numpy(), photos.truths.astype(np.float32, copy=False))
    if module.config.answer == "values":
        return score_numbers(answers.numpy(), photos.truths.astype(np.float32, copy=False))
    hits = answers.argmax(dim=1).numpy() == photos.truths
    if boxes:
        return score_boxes(hits, best_overlaps(cxcywh_to_xyxy(np.concatenate(boxes)), photos.boxes_xyxy))
    right = answers.softmax(dim=1).numpy()[np.arange(len(photos)), photos.truths]
    return LocalizationScore(float(hits.mean()), None, float(right.mean()), len(photos))


def score_constant(train: Photos, test: Photos) -> LocalizationScore:
    """The score of a constant prediction on `test`: the most frequent label and the mean box of `train`."""
    hits = test.truths == np.bincount(train.truths).argmax()
    box_xyxy = np.concatenate(train.boxes_xyxy).mean(axis=0, keepdims=True)
    return score_boxes(hits, best_overlaps(box_xyxy.repeat(len(test), axis=0), test.boxes_xyxy))


def _stretch(image_hwc: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """An image at the size of the input, uint8 (H, W, 3) RGB."""
    pixels: npt.NDArray[np.uint8] = model_inputs([image_hwc], size_hw, _PIXELS)[0].transpose(1, 2, 0).astype(np.uint8)
    return pixels


def _augment(
    rng: np.random.Generator,
    images_nhwc: npt.NDArray[np.uint8],
    boxes_xyxy: npt.NDArray[np.float32] | None,
    place: int,
    augmentation: Augmentation,
) -> None:
    """Replace the image at `place`, and its box (shares), by a random view of it."""
    size_hw = images_nhwc.shape[1:3]
    sides = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
    box = None if boxes_xyxy is None else boxes_xyxy[place] * sides
    view = augmentation.draw_view(rng, (size_hw[0], size_hw[1]), box)
    images_nhwc[place] = augmentation.draw_colours(rng, view.move_image(images_nhwc[place]))
    if boxes_xyxy is not None and box is not None:
        boxes_xyxy[place] = view.move_box(box, (size_hw[0], size_hw[1])) / sides
