"""Opening the model that a command was given, with all that its flags state."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.labels import read_labels
from onnxplain.cli.options.preprocessing import StatedInput

if TYPE_CHECKING:
    from onnxplain.runtime import Engine
    from onnxplain.runtime.precision import Precision

labels_option = click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Class labels: one per line, or JSON, a list or an object {index: label}.",
)
layers_option = click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME|all",
    help="An instrumented layer, or a part of its name that no other shares; given several times, or all: the maps of "
    "these layers fused into one. Default: the last one.",
)
provider_option = click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="Execution provider of ONNX Runtime, such as cpu or cuda; several are tried in order. "
    "Default: cuda where it is there, then cpu.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="bfloat16 is faster and coarser: openvino offers it, and cpu on ARM64 processors.",
)
megapixels_option = click.option(
    "--max-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    metavar="NUMBER",
    help="Refuse larger images before they are decoded. Default: 178.",
)


def open_engine(
    model: str,
    stated: StatedInput,
    labels_file: Path | None = None,
    providers: Sequence[str] = (),
    precision: Precision = "float32",
) -> Engine:
    """The engine for a model file, its metadata overridden by what the flags state."""
    from onnxplain.runtime import Engine

    labels = None if labels_file is None else read_labels(labels_file)
    open_file = functools.partial(
        Engine,
        model,
        providers or None,
        precision=precision,
        input_size_hw=stated.size,
        layout=stated.layout,
        labels=labels,
    )
    engine = open_file()
    if not stated.preprocesses:
        return engine
    # A flag overrides a part of what the file says, so the file has to be read first.
    return open_file(preprocessing=stated.apply(engine.spec.input.preprocessing))
