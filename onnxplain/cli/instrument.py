"""`onnxplain instrument`: an ONNX classifier, localizer or detector becomes explainable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import click

from onnxplain.cli.options.detection import detector_option
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.model import ModelArguments, sidecar_option, timeout_option
from onnxplain.cli.options.output_file import OutputFile, no_tail_option, output_option, required_inputs_option
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.export_report import print_report
from onnxplain.contract import Batch, BoxFormat, BoxUnits
from onnxplain.extras import needs_extra


@dataclass(frozen=True)
class GraphValues:
    """The names of the graph's values: feature maps, logits and box; and the meaning of the box's numbers."""

    layers: tuple[str, ...]
    logits: str | None
    box: str | None
    box_format: BoxFormat
    box_units: BoxUnits


@dataclass(frozen=True)
class Changes:
    """What is changed in the graph beside the gradients that are added."""

    no_gate: bool
    batch: Batch
    shuffle_weights: int | None
    float16: bool


@click.command(short_help="Make an ONNX file explainable: add its gradients to the graph.")
@click.argument("path", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@output_option
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME|auto|50%",
    help="Feature maps that get gradients: the name of a value or a part of the name; a share of the multiply-adds, "
    "such as 50%, for the map nearest to it; auto, for the last map, or those of a detector's levels; input, for the "
    "pixels, or attention, for the matrices of a transformer, both not of detectors (auto comes with them). May be "
    "given several times. Default: auto.",
)
@click.option("--logits", metavar="NAME", help="The value that holds the class logits. Needed only if it is not found.")
@click.option("--box", metavar="NAME", help="The output of the box head, if the model has one.")
@click.option(
    "--box-format",
    type=click.Choice(get_args(BoxFormat)),
    default="cxcywh",
    show_default=True,
    help="With --box: the order of its four numbers.",
)
@click.option(
    "--box-units",
    type=click.Choice(get_args(BoxUnits)),
    default="normalized",
    show_default=True,
    help="With --box: whether these numbers are shares of the input's size, or pixels of the input.",
)
@required_inputs_option
@click.option(
    "--no-gate",
    is_flag=True,
    help="Leave out the input explain and the If of each layer, for runtimes that have no If (TensorRT before 10.11, "
    "tract). Every run then computes all gradients.",
)
@click.option(
    "--batch",
    type=click.Choice(get_args(Batch)),
    default="auto",
    show_default=True,
    help="What to do if the file fixes the batch size. auto: make it dynamic if the outputs stay the same. "
    "dynamic: make it dynamic, or fail. fixed: keep it.",
)
@no_tail_option
@click.option(
    "--shuffle-weights",
    type=click.IntRange(min=0),
    metavar="SEED",
    help="First shuffle the values inside each weight, with this random seed, for `evaluate --sanity`. An explanation "
    "that does not change does not depend on what the model learned. `inspect` shows that the file is shuffled.",
)
@click.option(
    "--float16",
    is_flag=True,
    help="First turn weights and activations into float16: the file is half as large. Inputs and outputs keep their "
    "types, and gradients are computed in float32. The outputs may differ from those in float32 by 5 % at most.",
)
@click.option(
    "--verify",
    "measure",
    is_flag=True,
    help="Also measure what each layer's gradient costs, switched off (closed) and on (open).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON and nothing else.")
@answer_options
@detector_option
@sidecar_option
@timeout_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("values", GraphValues)
@gather("changes", Changes)
@gather("file", OutputFile)
def instrument(
    model: ModelArguments,
    values: GraphValues,
    file: OutputFile,
    changes: Changes,
    measure: bool,
    as_json: bool,
) -> None:
    """Write a copy of MODEL that can also output its feature maps and their gradients.

    OUT.onnx can replace MODEL anywhere: it has the same inputs and outputs. It also contains preprocessing, labels and
    the names of the layers. What the preprocessing options do not say is read from other tools' metadata, or else
    assumed: the imagenet preset for float inputs and raw for integers, with --resize crop (stretch if there is a box
    head). The file says of each part whether it is stated, read or assumed. Nothing is written unless the original
    outputs are unchanged and the gradients agree with finite differences.

    A second file, OUT.tail.onnx, contains the part of the network after the last instrumented layer: features in,
    logits out.

    Of a detector, gradients are those of a candidate's score or of a corner of its box; there is no tail file.

    Needs the extra `export`.
    """
    with needs_extra("export"):
        from onnxplain.exporters import instrument as instrument_file
        from onnxplain.exporters import measure_cost

    stated = model.stated
    report = instrument_file(
        model.path,
        file.output,
        layers=values.layers or ("auto",),
        logits=values.logits,
        box=values.box,
        box_format=values.box_format,
        box_units=values.box_units,
        **model.answers.for_exporters,
        preprocessing=stated.parts,
        input_size_hw=stated.size,
        layout=stated.layout,
        detector=model.detector,
        required_inputs=file.required_inputs,
        gate=not changes.no_gate,
        batch=changes.batch,
        tail=not file.no_tail,
        shuffle_weights=changes.shuffle_weights,
        float16=changes.float16,
        sidecars=not model.no_sidecar,
    )
    costs = measure_cost(model.path, file.output, report.spec) if measure else ()
    print_report(report, costs, as_json=as_json)
