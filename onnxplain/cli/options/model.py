"""The model that a command was given, and opening it with all that its flags state."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.labels import read_labels
from onnxplain.cli.options.preprocessing import StatedInput

if TYPE_CHECKING:
    from onnxplain.runtime import Engine
    from onnxplain.runtime.precision import Precision

model_argument = click.argument("path", metavar="MODEL.onnx")
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
precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="bfloat16 is faster and coarser: openvino offers it, and cpu on ARM64 processors.",
)


@dataclass(frozen=True)
class ModelArguments:
    """The model's file, how to run it, and what the flags state in place of the file's own metadata."""

    path: str | Path
    labels_file: Path | None = None
    providers: tuple[str, ...] = ()
    precision: Precision = "float32"
    stated: StatedInput = field(default_factory=StatedInput)

    def read_labels(self) -> tuple[str, ...] | None:
        """The labels that the flags state; None leaves them to the file."""
        return None if self.labels_file is None else read_labels(self.labels_file)

    def open(self) -> Engine:
        """The engine for the file, its metadata overridden by what the flags state."""
        from onnxplain.runtime import Engine

        open_file = functools.partial(
            Engine,
            self.path,
            self.providers or None,
            precision=self.precision,
            input_size_hw=self.stated.size,
            layout=self.stated.layout,
            labels=self.read_labels(),
        )
        engine = open_file()
        if not self.stated.preprocesses:
            return engine
        # A flag overrides a part of what the file says, so the file has to be read first.
        return open_file(preprocessing=self.stated.apply(engine.spec.input.preprocessing))
