"""`onnxplain inspect`: what a model file contains, and which preprocessing fits it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.options.detection import detector_option
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.images import megapixels_option
from onnxplain.cli.options.model import ModelArguments, model_argument, provider_option, sidecar_option, timeout_option
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.describe import (
    describe_spec,
    describe_targets_at_once,
    describe_unused,
    layer_columns,
    print_description,
)
from onnxplain.cli.output.placement_lines import placement_tree, print_placement, read_placement
from onnxplain.cli.output.plain_file_lines import CONDITIONS, Prospect, describe_format, format_tree
from onnxplain.cli.output.sidecar_lines import describe_sidecars, print_problems, sidecar_tree
from onnxplain.cli.output.tables import print_json, print_table
from onnxplain.cli.output.terminal import say
from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.explanations.json_number import json_number
from onnxplain.explanations.opening_notes import products_wrong_here
from onnxplain.explanations.warning_texts import describe_products
from onnxplain.extras import missing_modules, needs_extra

if TYPE_CHECKING:
    from onnxplain.cli.output.try_presets import Trial
    from onnxplain.contract import UnusedOutput
    from onnxplain.exporters import Candidate
    from onnxplain.runtime import Engine


@click.command(short_help="Show what a model file contains.")
@model_argument
@click.option("--json", "as_json", is_flag=True, help="Print the file's metadata as JSON and nothing else.")
@click.option(
    "--try",
    "image",
    type=click.Path(path_type=Path),
    metavar="IMAGE",
    help="Also print the top 5 classes of this image under each preset, channel order and layout that fits the file, "
    "most confident first. If one of them names what the image shows, it is probably the right preprocessing.",
)
@click.option(
    "--layers",
    "list_layers",
    is_flag=True,
    help="Also list the feature maps that `instrument --layer` can name, the share of the network's multiply-adds "
    "before each, and the methods that each supports. Needs the extra `export`.",
)
@answer_options
@detector_option
@provider_option
@sidecar_option
@timeout_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
def inspect(
    model: ModelArguments, as_json: bool, image: Path | None, list_layers: bool, max_megapixels: float | None
) -> None:
    """Print what MODEL contains: task, labels, input, preprocessing, heads, layers, and methods that work with it.

    MODEL can be any ONNX image model. If the file is not instrumented, the end of its graph tells what its outputs
    mean: each head is listed with the evidence, and each output that is none with the reason. Of a detector, the layout
    of its outputs is listed, with the evidence. Preprocessing that is not known is assumed. Then the methods are listed
    that work with the file as it is, and those that work once it is instrumented (this needs the extra `export`).
    With --provider, the nodes are listed that this provider leaves to the CPU. --json prints the file's metadata, with
    its format and the names of the methods added. Save it beside the model (sidecar file) for languages that cannot
    read metadata from the model.
    """
    from onnxplain.cli.output.try_presets import doubt
    from onnxplain.explainers import supported
    from onnxplain.runtime.protobuf.model_facts import external_files, read_facts

    trials: list[Trial] = []
    if image is None:
        engine = model.open()
    else:
        trials = _try(model, image, max_megapixels)
        engine = trials[0].engine
        print_problems(engine.sidecars)
    facts, weights = read_facts(engine.path), external_files(engine.path)
    prospect = _prospect(engine, model, asked=list_layers)
    placement = read_placement(engine, model.providers) if model.providers else ()
    if as_json:
        tree = {**json.loads(engine.spec.to_json()), "methods": supported(engine), "file": format_tree(facts, weights)}
        tree["saturating_products"] = products_wrong_here(engine)
        if not engine.spec.layers:
            tree["unused_outputs"] = [_unused_tree(output) for output in engine.unused_outputs]
            tree["sidecars"] = sidecar_tree(engine.sidecars)
            tree["methods_if_instrumented"] = prospect.methods
            tree.update({key: prospect.others.get(key, ()) for key in CONDITIONS})
        if prospect.candidates:
            tree["candidates"] = [asdict(candidate) for candidate in prospect.candidates]
        if placement:
            tree["placement"] = placement_tree(engine, placement)
        if image is not None:
            tree["trials"] = [_trial_tree(trial) for trial in trials]
            tree["trials_undecided"] = doubt(trials) or None
        print_json(tree)
        return
    _print_engine(engine, describe_format(facts, weights), prospect)
    if placement:
        print_placement(engine, placement)
    if list_layers and prospect.candidates:
        say()
        say("feature maps that `instrument --layer` can name (*: what auto selects):")
        say()
        print_table(
            ("", "channels", "size", "multiply-adds before", "methods", "layer"),
            [_candidate_row(candidate) for candidate in prospect.candidates],
            numbers=("channels", "multiply-adds before"),
        )
    if trials:
        say()
        say(f"top 5 classes of {image} under each preprocessing that fits, most confident first:")
        say()
        print_table(
            ("preset", "channels", "layout", "top 5"),
            [(trial.preset, str(trial.channels), trial.layout, _top_text(trial)) for trial in trials],
        )
        if reason := doubt(trials):
            say()
            say(f"not decided: {reason}: compare the labels with the image, or ask how the model was trained")


def _try(model: ModelArguments, image: Path, max_megapixels: float | None) -> list[Trial]:
    from onnxplain.cli.output.try_presets import try_presets

    try:
        return try_presets(model, image, max_megapixels)
    except ImageError as error:
        say(f"onnxplain: {error}", err=True)
        raise click.exceptions.Exit(1) from error


def _prospect(engine: Engine, model: ModelArguments, *, asked: bool) -> Prospect:
    """What instrumenting makes possible. Without --layers: nothing for explainable files and without `export`."""
    if not asked and (engine.spec.layers or missing_modules("export")):
        return Prospect()
    with needs_extra("export"):
        from onnxplain.exporters import survey

    try:
        # The engine has closed what the file leaves open.
        source = engine.spec.input
        return Prospect.of(
            survey(
                engine.path,
                heads=model.answers.heads,
                inputs=model.answers.read_inputs(),
                input_size_hw=source.size_hw,
                layout=source.layout,
                channels=source.preprocessing.channels,
                detector=model.detector,
            ),
            engine.spec.heads,
        )
    except OnnxplainError as error:
        if asked:
            raise
        return Prospect(obstacle=error)


def _candidate_row(candidate: Candidate) -> tuple[str, ...]:
    height, width = candidate.size_hw
    mark = "*" if candidate.chosen else ""
    size, share = f"{height}x{width}", f"{candidate.share:.0%}"
    return mark, str(candidate.channels), size, share, ", ".join(candidate.methods), candidate.name


def _print_engine(engine: Engine, file_format: str, prospect: Prospect) -> None:
    from onnxplain.explainers import METHODS, supported
    from onnxplain.explainers.registry import lack_of

    spec = engine.spec
    kind = "explainable" if spec.layers else "not instrumented"
    batch = "any" if engine.fixed_batch is None else str(engine.fixed_batch)
    say(f"{engine.path}: {kind}, {engine.path.stat().st_size / 1e6:.2f} MB, batch {batch}")
    working = supported(engine)
    unused = describe_unused(engine.unused_outputs)
    lines = [
        ("format", file_format),
        *describe_spec(spec),
        *unused,
        *describe_targets_at_once(spec, engine.fixed_batch),
        *describe_sidecars(engine.sidecars),
        *_tail_line(engine),
    ]
    lines.append(("methods", ", ".join(working) or "none: `onnxplain predict` prints boxes"))
    saturating = products_wrong_here(engine)
    if saturating:
        lines.append(("warning", describe_products(saturating)))
    if not spec.layers:
        print_description([*lines, *prospect.lines()])
        return
    unmet = [(name, lack_of(method.explainer, spec)) for name, method in METHODS.items() if name not in working]
    lines += [(f"not {name}", lack.otherwise) for name, lack in unmet]
    print_description(lines)
    say()
    print_table(("layer", "channels", "size"), layer_columns(spec.layers), numbers=("channels",))


def _tail_line(engine: Engine) -> list[tuple[str, str]]:
    """The line about the tail file: its size, or the reason why it cannot be used."""
    if engine.spec.tail is None:
        return [("tail", "none")] if engine.spec.layers else []
    try:
        size = engine.tail.path.stat().st_size
    except OnnxplainError as error:
        return [("tail", str(error))]
    return [("tail", f"{engine.spec.tail.file}, {size / 1e6:.2f} MB, from {engine.spec.tail.layer}")]


def _top_text(trial: Trial) -> str:
    return ", ".join(f"{label} {score:.2f}" for _, label, score in trial.top)


def _unused_tree(output: UnusedOutput) -> dict[str, Any]:
    return {"name": output.value.name, "shape": output.value.dims, "fault": output.fault.name, "reason": str(output)}


def _trial_tree(trial: Trial) -> dict[str, Any]:
    top = [{"class_id": index, "label": label, "score": json_number(score)} for index, label, score in trial.top]
    return {"preset": trial.preset, "channels": trial.channels, "layout": trial.layout, "top": top}
