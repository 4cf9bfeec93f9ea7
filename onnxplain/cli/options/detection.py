"""The option for the layout of a detector."""

from __future__ import annotations

import click

from onnxplain.contract.detectors import LAYOUTS

detector_option = click.option(
    "--detector",
    type=click.Choice(list(LAYOUTS)),
    metavar="LAYOUT",
    help="How the outputs of a detector are laid out. Needed only if it cannot be told: then names and operators of "
    "the graph do not count, only shapes. docs/detectors.md lists the layouts.",
)
