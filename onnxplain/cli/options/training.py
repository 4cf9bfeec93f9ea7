"""The flags of `train` that say how, and on which images, to train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from onnxplain.cli.options.dataset import image_folder_option, strict_option
from onnxplain.cli.options.gather import gather, gather_stated, stack
from onnxplain.cli.options.preprocessing import read_size

# One flag per field of TrainingOptions; what is not given is left to the recipe.
_CHOICES = (
    click.option(
        "--supervision",
        type=click.Choice(["boxes", "labels"]),
        help="boxes: a label head and a box head. labels: a label head alone, which never sees a box. Default: boxes.",
    ),
    click.option(
        "--backbone",
        metavar="NAME",
        help="small, timm:NAME or torchvision:NAME, such as timm:resnet18. Default: small, a few convolutions.",
    ),
    click.option("--pretrained", is_flag=True, default=None, help="Start from the library's weights of that backbone."),
    click.option(
        "--size",
        "size_hw",
        metavar="HxW",
        callback=read_size,
        help="Height and width of the model's input. Default: 128x128, digits 64x64.",
    ),
    click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Default: 200, digits 20."),
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Default: 16, digits 64."),
    click.option(
        "--learning-rate",
        type=click.FloatRange(min=0, min_open=True),
        metavar="RATE",
        help="Peak. Default: 0.003, digits 0.004.",
    ),
    click.option(
        "--box-weight", type=click.FloatRange(min=0), metavar="W", help="Of the box term in the loss. Default: 2.0."
    ),
    click.option(
        "--box-loss",
        type=click.Choice(["l2", "smooth-l1"]),
        help="l2: the Euclidean distance of (cx, cy, w, h), not squared. Default: l2.",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), metavar="N", help="Of weights, images and their division. Default: 0."
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
    "seed",
)

_DATA = (
    image_folder_option,
    click.option(
        "--split",
        "lists",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Text file of image names, given two or three times: to train on, to choose the best epoch by, to test "
        "on. Default: the data set's own parts, else 68, 12 and 20 % of every class at random.",
    ),
    strict_option,
    click.option(
        "--flip/--no-flip", default=True, help="Whether left and right may be swapped; not for text. Default: flip."
    ),
    click.option(
        "--augment/--no-augment",
        default=True,
        help="Whether images are zoomed, shifted, swapped and coloured at random, boxes with them. Default: augment.",
    ),
    click.option(
        "--images-per-epoch",
        type=click.IntRange(min=64),
        metavar="N",
        help="Generated images per epoch, for digits. Default: 20000.",
    ),
)


@dataclass(frozen=True)
class TrainingData:
    """The images to train on and what is shown of them; `images_per_epoch` counts generated digits."""

    dataset: str
    images: Path | None
    lists: tuple[Path, ...]
    strict: bool
    flip: bool
    augment: bool
    images_per_epoch: int | None

    @property
    def states_photos(self) -> bool:
        """Whether a flag was given that only photos have."""
        return bool(self.images or self.lists or self.strict or not (self.flip and self.augment))


training_options = stack(*_CHOICES, gather_stated("chosen", CHOICE_NAMES), *_DATA, gather("data", TrainingData))
"""Give a command with an argument `dataset` these flags.

It receives a `TrainingData` called `data`, and the given ones of TrainingOptions as a dictionary called `chosen`.
"""
