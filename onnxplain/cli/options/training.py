"""The options of `train`: how to train, and on which images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from onnxplain.cli.options.dataset import allow_outside_option, image_folder_option, strict_option
from onnxplain.cli.options.gather import gather, gather_stated, stack
from onnxplain.cli.options.preprocessing import read_size

# One option per field of TrainingOptions. If one is not given, the recipe's default is used.
_CHOICES = (
    click.option(
        "--supervision",
        type=click.Choice(["boxes", "labels", "multi-label", "number"]),
        help="boxes: train a label head and a box head. labels: train only a label head, without boxes. multi-label: "
        "any number of labels per image. number: one number per image. Default: boxes; for a CSV file of labels or "
        "numbers, what it holds.",
    ),
    click.option(
        "--backbone",
        metavar="NAME",
        help="small, timm:NAME or torchvision:NAME, such as timm:resnet18. Default: small, a few convolutions.",
    ),
    click.option(
        "--pretrained", is_flag=True, default=None, help="Start from the pretrained weights of timm or torchvision."
    ),
    click.option(
        "--size",
        "size_hw",
        metavar="HxW",
        callback=read_size,
        help="Height and width of the model's input. Default: 128x128, digits 64x64.",
    ),
    click.option(
        "--epochs", type=click.IntRange(min=1), metavar="N", help="Number of epochs. Default: 200, digits 20."
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="Images per training step. Default: 16, digits 64.",
    ),
    click.option(
        "--learning-rate",
        type=click.FloatRange(min=0, min_open=True),
        metavar="RATE",
        help="Highest learning rate of the schedule. Default: 0.003, digits 0.004.",
    ),
    click.option(
        "--box-weight",
        type=click.FloatRange(min=0),
        metavar="W",
        help="Weight of the box term in the loss. Default: 2.0.",
    ),
    click.option(
        "--box-loss",
        type=click.Choice(["l2", "smooth-l1"]),
        help="Box term of the loss. l2: Euclidean distance of (cx, cy, w, h), not squared. smooth-l1: smooth L1 "
        "distance. Default: l2.",
    ),
    click.option(
        "--number-loss",
        type=click.Choice(["huber", "squared"]),
        help="Loss of a number, in standard deviations of the training numbers. huber: weighs outliers less. squared: "
        "squared error. Default: huber.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        metavar="N",
        help="Random seed for weights, image order and split. Default: 0.",
    ),
)
CHOICE_NAMES = (
    "supervision",
    "backbone",
    "pretrained",
    "size_hw",
    "epochs",
    "batch_size",
    "learning_rate",
    "box_weight",
    "box_loss",
    "number_loss",
    "seed",
)

_DATA = (
    image_folder_option,
    allow_outside_option,
    click.option(
        "--split",
        "lists",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Text file of image names. Give two or three files: for training, for choosing the best epoch, and for "
        "the test. Default: the data set's own parts, otherwise 68, 12 and 20 % of each class at random.",
    ),
    strict_option,
    click.option(
        "--column",
        metavar="NAME",
        help="With --supervision number: the column of the CSV file with the numbers. Default: the only one.",
    ),
    click.option(
        "--flip/--no-flip",
        default=True,
        help="Mirror images at random. Use --no-flip if left and right differ, as in text. Default: flip.",
    ),
    click.option(
        "--augment/--no-augment",
        default=True,
        help="Zoom, shift, mirror and recolour images at random; boxes move with them. Default: augment.",
    ),
    click.option(
        "--images-per-epoch",
        type=click.IntRange(min=64),
        metavar="N",
        help="With digits: number of generated images per epoch. Default: 20000.",
    ),
)


@dataclass(frozen=True)
class TrainingData:
    """The images to train on, and their augmentation. `column`: of the numbers to learn. `images_per_epoch`: number of
    generated digits."""

    dataset: str
    images: Path | None
    allow_outside: bool
    lists: tuple[Path, ...]
    strict: bool
    column: str | None
    flip: bool
    augment: bool
    images_per_epoch: int | None

    @property
    def states_photos(self) -> bool:
        """Whether an option was given that is only for photos."""
        stated = (self.images, self.allow_outside, self.lists, self.strict, self.column)
        return any(stated) or not (self.flip and self.augment)


training_options = stack(*_CHOICES, gather_stated("chosen", CHOICE_NAMES), *_DATA, gather("data", TrainingData))
"""Give a command with an argument `dataset` these options.

It receives a `TrainingData` called `data`, and a dictionary called `chosen` with those fields of TrainingOptions that
were given.
"""
