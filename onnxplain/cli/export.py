"""`onnxplain export`: a PyTorch model becomes an explainable ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import StatedAnswers, labels_option
from onnxplain.cli.options.model import timeout_option
from onnxplain.cli.options.output_file import OutputFile, no_tail_option, output_option, required_inputs_option
from onnxplain.cli.options.preprocessing import StatedInput, preprocessing_options
from onnxplain.cli.output.export_report import print_report
from onnxplain.contract import BoxFormat, BoxUnits, Completed, GivenLabels, Origins, Preprocessing, as_parts, override
from onnxplain.errors import OnnxplainError
from onnxplain.extras import require_modules

if TYPE_CHECKING:
    from onnxplain.exporters import ExportReport


@dataclass(frozen=True)
class ModuleArguments:
    """The PyTorch module: its source, its weights, the layers to explain, and the meaning of its box's numbers."""

    source: str
    weights: Path | None
    layers: tuple[str, ...]
    box_format: BoxFormat
    box_units: BoxUnits


@click.command(short_help="Export a PyTorch model as an explainable ONNX file.")
@click.argument("source", metavar="SOURCE")
@output_option
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME|auto|50%",
    help="Feature maps that get gradients: the path of a submodule, such as layer4; a share of the multiply-adds, such "
    "as 50%, for the map nearest to it; or auto, for the last map. May be given several times. Default: auto; for a "
    "checkpoint of `train` the submodule features, if its output is a map.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With a factory: a file with a state dict for the module. Pickled code in it is not run.",
)
@click.option(
    "--box-format",
    type=click.Choice(get_args(BoxFormat)),
    default="cxcywh",
    show_default=True,
    help="With a factory: the order of the box head's four numbers.",
)
@click.option(
    "--box-units",
    type=click.Choice(get_args(BoxUnits)),
    default="normalized",
    show_default=True,
    help="With a factory: whether these numbers are shares of the input's size, or pixels of the input.",
)
@required_inputs_option
@no_tail_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON and nothing else.")
@labels_option
@timeout_option
@preprocessing_options
@gather("asked", ModuleArguments)
@gather("file", OutputFile)
@gather("answers", StatedAnswers)
def export(
    asked: ModuleArguments, file: OutputFile, answers: StatedAnswers, stated: StatedInput, as_json: bool
) -> None:
    """Write SOURCE as an explainable ONNX file with a dynamic batch size.

    SOURCE is a checkpoint that `onnxplain train` wrote, or package.module:factory. A factory is a function without
    arguments that returns a PyTorch module; the current folder is searched for it too. The module returns logits, or
    (logits, box). A factory needs --size. What the preprocessing options do not say is assumed: the imagenet preset,
    with --resize crop (stretch if there is a box head). The file says of each part whether it is stated or assumed. A
    checkpoint contains its own size and preprocessing.

    Nothing is written unless outputs and gradients agree with PyTorch. A second file, OUT.tail.onnx, contains the part
    of the network after the last instrumented layer: features in, logits out. Needs the extra `torch`.
    """
    require_modules("torch", "onnxplain.exporters.torch_export", "onnxplain.training.checkpoint")
    labels = answers.labels or ()
    if stated.layout not in (None, "nchw"):
        raise OnnxplainError(f"layout: found {stated.layout}, expected nchw: PyTorch modules take [N, C, H, W]")
    if Path(asked.source).exists() or ":" not in asked.source:
        if asked.weights is not None:
            raise OnnxplainError(f"--weights: {asked.source} is a checkpoint and has its own weights: leave it out")
        report = export_checkpoint(
            Path(asked.source),
            file.output,
            asked.layers,
            labels,
            stated,
            required_inputs=file.required_inputs,
            tail=not file.no_tail,
        )
    else:
        from onnxplain.exporters import export as export_module
        from onnxplain.training.factory import build_module

        if stated.size is None:
            raise OnnxplainError("size: missing, expected the module's input size: give --size HxW")
        module = build_module(asked.source, asked.weights)
        report = export_module(
            module,
            file.output,
            input_size_hw=stated.size,
            layers=asked.layers or ("auto",),
            labels=labels,
            preprocessing=stated.parts,
            box_format=asked.box_format,
            box_units=asked.box_units,
            required_inputs=file.required_inputs,
            tail=not file.no_tail,
        )
    print_report(report, as_json=as_json)


def export_checkpoint(
    source: Path,
    output: Path,
    layers: Sequence[str] = (),
    labels: GivenLabels = (),
    stated: StatedInput | None = None,
    *,
    required_inputs: bool = False,
    tail: bool = True,
) -> ExportReport:
    """Export a checkpoint of `train`, with its own labels, size and preprocessing unless others are given."""
    from onnxplain.exporters import export as export_module
    from onnxplain.training.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(source)
    stated = stated or StatedInput()
    if stated.size not in (None, checkpoint.size_hw):
        height, width = checkpoint.size_hw
        raise OnnxplainError(
            f"{source}: found --size, but the model was trained for {height}x{width}: leave --size out"
        )
    return export_module(
        checkpoint.module,
        output,
        input_size_hw=checkpoint.size_hw,
        layers=layers or (checkpoint.module.explainable_layer,),
        labels=labels or checkpoint.labels,
        preprocessing=_over(stated, checkpoint.preprocessing),
        required_inputs=required_inputs,
        tail=tail,
    )


def _over(stated: StatedInput, trained: Preprocessing) -> Preprocessing:
    """The preprocessing of a checkpoint, with the given options in place of its parts."""
    parts = as_parts(stated.parts).with_preset("float32", stated.channels or trained.channels)
    return override(parts, Completed(trained, Origins())).preprocessing
