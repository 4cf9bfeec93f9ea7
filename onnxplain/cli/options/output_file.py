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
    help="Give target and explain no default, for languages that cannot feed inputs that have one (JavaScript, Java).",
)
no_tail_option = click.option(
    "--no-tail",
    is_flag=True,
    help="Write no tail file; ablation-cam and recipro-cam, which run it instead of the whole network, then do not "
    "work.",
)


@dataclass(frozen=True)
class OutputFile:
    """Where the file goes, and its form: whether its extra inputs are required, whether it gets a tail file."""

    output: Path
    required_inputs: bool
    no_tail: bool
