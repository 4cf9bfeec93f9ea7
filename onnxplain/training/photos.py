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
from onnxplain.training.loop import TrainBatch
from onnxplain.training.prediction import evaluating
from onnxplain.training.score import LocalizationScore, best_overlaps, score_boxes

CACHE_BYTES = 1 << 30
"""If all decoded images together need more than this, each is decoded again whenever it is used."""

_PIXELS = Preprocessing("rgb", resize="stretch")
"""The preprocessing of the model's input without normalisation."""
_SCORED_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Photos:
    """Labelled images at the size of the model's input, whole and stretched.

    `records`: those that could be read. `classes`: int64 (N,). `boxes_xyxy`: per image float32 (M, 4), shares of
    width and height. `pixels_nhwc`: uint8 (N, H, W, 3) RGB, exactly what the engine makes at run time; None if
    they need too much memory.
    """

    records: tuple[Record, ...]
    labels: tuple[str, ...]
    classes: npt.NDArray[np.int64]
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
        if self.pixels_nhwc is not None:
            sha.update(self.pixels_nhwc.tobytes())
        return sha.hexdigest()[:16]


def read_photos(
    dataset: DataSet,
    size_hw: tuple[int, int],
    problems: list[Problem],
    *,
    strict: bool = False,
    cache_bytes: int = CACHE_BYTES,
) -> Photos:
    """Read every image of a data set once; those that cannot be read become `problems`.

    `strict`: raise OnnxplainError instead. Also raises it if no image is left.
    """
    bytes_each = math.prod(size_hw) * 3
    keep = len(dataset.records) * bytes_each <= cache_bytes
    pixels = np.empty((len(dataset.records) if keep else 0, *size_hw, 3), np.uint8)
    records: list[Record] = []
    boxes: list[npt.NDArray[np.float32]] = []
    for record, image_hwc in load_images(dataset.records, problems, strict=strict):
        if keep:
            pixels[len(records)] = _stretch(image_hwc, size_hw)
        records.append(record)
        shares = record.boxes_xyxy / np.array(image_hwc.shape[1::-1] * 2, np.float32)
        boxes.append(shares.astype(np.float32, copy=False))
    if not records:
        raise OnnxplainError(f"{dataset.name}: found no image that can be read, the last: {problems[-1]}")
    classes = np.array([dataset.labels.index(record.label) for record in records], np.int64)
    kept = pixels[: len(records)] if keep else None
    return Photos(tuple(records), dataset.labels, classes, tuple(boxes), size_hw, kept)


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
            classes=torch.from_numpy(photos.classes[indices]),
            boxes=None if boxes is None else torch.from_numpy(xyxy_to_cxcywh(boxes)),
        )


def steps_per_epoch(photos: Photos, batch_size: int) -> int:
    """Number of batches in an epoch, none larger than `batch_size`."""
    return math.ceil(len(photos) / batch_size)


def score_photos(module: Localizer, photos: Photos, preprocessing: Preprocessing) -> LocalizationScore:
    """Score a localizer on images; if it has a box head, each image needs at least one box.

    Overlaps are with the nearest true box. They are the same in shares of the image as in pixels.
    """
    logits, boxes = [], []
    with evaluating(module):
        for start in range(0, len(photos), _SCORED_AT_ONCE):
            chunk = photos.pixels(range(start, min(start + _SCORED_AT_ONCE, len(photos))))
            batch_logits, batch_boxes = module.heads(
                torch.from_numpy(model_inputs(list(chunk), photos.size_hw, preprocessing))
            )
            logits.append(batch_logits)
            boxes += [] if batch_boxes is None else [batch_boxes.numpy()]
    scores = torch.cat(logits)
    hits = scores.argmax(dim=1).numpy() == photos.classes
    if boxes:
        return score_boxes(hits, best_overlaps(cxcywh_to_xyxy(np.concatenate(boxes)), photos.boxes_xyxy))
    right = scores.softmax(dim=1).numpy()[np.arange(len(photos)), photos.classes]
    return LocalizationScore(float(hits.mean()), None, float(right.mean()), len(photos))


def score_constant(train: Photos, test: Photos) -> LocalizationScore:
    """The score of a constant prediction on `test`: the most frequent label and the mean box of `train`."""
    hits = test.classes == np.bincount(train.classes).argmax()
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
