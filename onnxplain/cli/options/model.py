"""The model that a command gets, opened with everything that the options say about it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.preprocessing import StatedInput
from onnxplain.cli.output.sidecar_lines import print_problems
from onnxplain.contract import Preprocessing
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

        open_file = functools.partial(
            Engine,
            self.path,
            self.providers or None,
            precision=self.precision,
            input_size_hw=self.stated.size,
            layout=self.stated.layout,
            labels=self.read_labels(),
            sidecars=not self.no_sidecar,
        )
        engine = open_file()
        if not self.stated.preprocesses:
            return engine
        # An option replaces a part of the file's preprocessing, so the file is read first.
        return open_file(preprocessing=self.stated.apply(engine.spec.input.preprocessing))

    def whole_preprocessing(self, box: str | None) -> Preprocessing:
        """The given options, applied to the preprocessing that is assumed for the input of this file."""
        from onnxplain.runtime.image_input import assumed_preprocessing, find_image_input, find_layout
        from onnxplain.runtime.session import open_session

        path = Path(self.path)
        image_input = find_image_input(open_session(path, ["cpu"], None), path)
        assumed = assumed_preprocessing(image_input, find_layout(image_input, path, self.stated.layout))
        return self.stated.apply(assumed if box is None else replace(assumed, resize="stretch"))
