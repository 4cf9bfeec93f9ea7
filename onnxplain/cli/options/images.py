"""The IMAGE arguments, and how large an image may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from onnxplain.explanations.image_arguments import expand_images

images_argument = click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
megapixels_option = click.option(
    "--max-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    metavar="NUMBER",
    help="Refuse larger images, before they are decoded. WebP and JPEG 2000 count twice, and pixels of many bytes by "
    "their size, because decoding them takes more memory. Default: 50.",
)


@dataclass(frozen=True)
class ImageArguments:
    """What the command line says about the images. `max_megapixels`: None means the library's limit."""

    images: tuple[str, ...]
    max_megapixels: float | None

    def paths(self) -> list[Path]:
        """The files that the arguments name, each file once."""
        return expand_images(self.images)
