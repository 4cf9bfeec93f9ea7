"""Options of a data set that `evaluate` and `train` share."""

from __future__ import annotations

from pathlib import Path

import click

image_folder_option = click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the images. Default: the folder of the annotations, or its subfolder images.",
)
allow_outside_option = click.option(
    "--allow-outside",
    is_flag=True,
    help="Also use images and annotation files outside of the folder of DATASET, or of --images: those that names with "
    "../, absolute names and links lead to. They are refused otherwise.",
)
strict_option = click.option(
    "--strict", is_flag=True, help="Stop at the first image or annotation that cannot be used."
)
