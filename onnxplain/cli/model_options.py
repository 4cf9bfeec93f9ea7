"""Opening the model that a command was given, with all that its flags state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.labels import read_labels
from onnxplain.cli.preprocessing_options import StatedInput

if TYPE_CHECKING:
    from onnxplain.runtime import Engine

labels_option = click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Class labels: one per line, or JSON, a list or an object {index: label}.",
)
provider_option = click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="Execution provider of ONNX Runtime, such as cpu or cuda; several are tried in order. "
    "Default: cuda where it is there, then cpu.",
)
megapixels_option = click.option(
    "--max-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    metavar="NUMBER",
    help="Refuse larger images before they are decoded. Default: 178.",
)


def open_engine(
    model: str, stated: StatedInput, labels_file: Path | None = None, providers: Sequence[str] = ()
) -> Engine:
    """The engine for a model file, its metadata overridden by what the flags state."""
    from onnxplain.runtime import Engine

    labels = None if labels_file is None else read_labels(labels_file)
    engine = Engine(model, providers or None, input_size_hw=stated.size, layout=stated.layout, labels=labels)
    if not stated.preprocesses:
        return engine
    # A flag overrides a part of what the file says, so the file has to be read first.
    return Engine(
        model,
        providers or None,
        preprocessing=stated.apply(engine.spec.input.preprocessing),
        input_size_hw=stated.size,
        layout=stated.layout,
        labels=labels,
    )
