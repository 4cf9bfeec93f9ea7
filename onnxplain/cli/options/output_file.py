"""The explainable file that `instrument` and `export` write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

output_option = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="OUT.onnx", help="The file to write."
)
required_inputs_option = click.option(
    "--required-inputs",
    is_flag=True,
    help="Write the inputs `target` and `explain` without default values, for languages that cannot feed inputs that "
    "have a default (JavaScript, Java).",
)
no_tail_option = click.option(
    "--no-tail",
    is_flag=True,
    help="Write no OUT.tail.onnx. Then ablation-cam and recipro-cam do not work, because they run it instead of the "
    "whole network.",
)


@dataclass(frozen=True)
class OutputFile:
    """The file to write; whether its extra inputs are required; whether it gets a tail file."""

    output: Path
    required_inputs: bool
    no_tail: bool
