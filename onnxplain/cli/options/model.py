"""The model that a command gets, opened with everything that the options say about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.preprocessing import StatedInput
from onnxplain.cli.output.sidecar_lines import print_problems
from onnxplain.sidecars.labels import read_labels

if TYPE_CHECKING:
    from onnxplain.runtime import Engine
    from onnxplain.runtime.precision import Precision

model_argument = click.argument("path", metavar="MODEL.onnx")
labels_option = click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Class labels: a text file with one label per line, or JSON (a list, a list of {index, name}, or an object "
    "{index: label}).",
)
sidecar_option = click.option(
    "--no-sidecar",
    is_flag=True,
    help="Do not read labels, preprocessing and input size from other tools' metadata in MODEL, or from their files "
    "beside it (config.json, preprocessor_config.json, inference.yml, labels.txt …).",
)
provider_option = click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="Execution provider of ONNX Runtime, such as cpu or cuda. Several are tried in this order. Default: cuda if "
    "it is available, then cpu.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="bfloat16 is faster but less exact. It is available with openvino, and with cpu on ARM64 processors.",
)


@dataclass(frozen=True)
class ModelArguments:
    """The model's file, how to run it, and the options that replace metadata of the file."""

    path: str | Path
    labels_file: Path | None = None
    providers: tuple[str, ...] = ()
    precision: Precision = "float32"
    stated: StatedInput = field(default_factory=StatedInput)
    no_sidecar: bool = False
    detector: str | None = None

    def read_labels(self) -> tuple[str, ...] | None:
        """The labels of --labels; None means those of the model file."""
        return None if self.labels_file is None else read_labels(self.labels_file)

    def open(self) -> Engine:
        """The engine for the file; the given options replace its metadata. Prints what sidecars say in vain."""
        engine = self.open_quietly()
        print_problems(engine.sidecars)
        return engine

    def open_quietly(self) -> Engine:
        """As `open`, without a word."""
        from onnxplain.runtime import Engine

        return Engine(
            self.path,
            self.providers or None,
            precision=self.precision,
            preprocessing=self.stated.parts,
            input_size_hw=self.stated.size,
            layout=self.stated.layout,
            labels=self.read_labels(),
            sidecars=not self.no_sidecar,
            detector=self.detector,
        )
