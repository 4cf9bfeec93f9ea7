"""`onnxplain inspect`: what a model file contains, and which preprocessing fits it."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.options.extras import needs_extra
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.images import megapixels_option
from onnxplain.cli.options.model import ModelArguments, labels_option, model_argument, sidecar_option
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.describe import describe_spec, layer_columns, print_description
from onnxplain.cli.output.saturation import describe_products
from onnxplain.cli.output.sidecar_lines import describe_sidecars, print_problems, sidecar_tree
from onnxplain.cli.output.tables import print_json, print_table
from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.explanations.json_number import json_number

if TYPE_CHECKING:
    from onnxplain.cli.output.try_presets import Trial
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
    "before each, and the methods that each supports. Needs the extra `export`. If it is installed, files that are not "
    "instrumented are always listed like this.",
)
@labels_option
@sidecar_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
def inspect(
    model: ModelArguments, as_json: bool, image: Path | None, list_layers: bool, max_megapixels: float | None
) -> None:
    """Print what MODEL contains: task, labels, input, preprocessing, outputs, layers, and methods that work with it.

    MODEL can be any ONNX classifier. If the file is not instrumented, a trial run finds out what its outputs mean, and
    the preprocessing is assumed. --json prints the file's metadata, with the names of the methods added. Save it beside
    the model (sidecar file) for languages that cannot read metadata from the model.
    """
    from onnxplain.cli.output.try_presets import doubt
    from onnxplain.explainers import supported

    trials: list[Trial] = []
    if image is None:
        engine = model.open()
    else:
        trials = _try(model, image, max_megapixels)
        engine = trials[0].engine
        print_problems(engine.sidecars)
    candidates = _candidates(engine, asked=list_layers)
    if as_json:
        tree = {**json.loads(engine.spec.to_json()), "methods": supported(engine)}
        tree["saturating_products"] = _saturating(engine)
        if not engine.spec.layers:
            tree["sidecars"] = sidecar_tree(engine.sidecars)
        if candidates:
            tree["candidates"] = [asdict(candidate) for candidate in candidates]
        if image is not None:
            tree["trials"] = [_trial_tree(trial) for trial in trials]
            tree["trials_undecided"] = doubt(trials) or None
        print_json(tree)
        return
    _print_engine(engine)
    if candidates:
        click.echo("\nfeature maps that `instrument --layer` can name (*: the map that auto selects):\n")
        print_table(
            ("", "channels", "size", "multiply-adds before", "methods", "layer"),
            [_candidate_row(candidate) for candidate in candidates],
            numbers=("channels", "multiply-adds before"),
        )
    if trials:
        click.echo(f"\ntop 5 classes of {image} under each preprocessing that fits, most confident first:\n")
        print_table(
            ("preset", "channels", "layout", "top 5"),
            [(trial.preset, str(trial.channels), trial.layout, _top_text(trial)) for trial in trials],
        )
        if reason := doubt(trials):
            click.echo(f"\nnot decided: {reason}: compare the labels with the image, or ask how the model was trained")


def _try(model: ModelArguments, image: Path, max_megapixels: float | None) -> list[Trial]:
    from onnxplain.cli.output.try_presets import try_presets

    try:
        return try_presets(model, image, max_megapixels)
    except ImageError as error:
        click.echo(f"onnxplain: {error}", err=True)
        raise click.exceptions.Exit(1) from error


def _candidates(engine: Engine, *, asked: bool) -> tuple[Candidate, ...]:
    """The feature maps of the file. Without --layers: none if the file is explainable or `export` is not installed."""
    if not asked and (engine.spec.layers or find_spec("onnx") is None or find_spec("onnxscript") is None):
        return ()
    with needs_extra("export"):
        from onnxplain.exporters import survey

    try:
        # The engine has closed what the file leaves open.
        source = engine.spec.input
        return survey(
            engine.path,
            input_size_hw=source.size_hw,
            layout=source.layout,
            channels=source.preprocessing.channels,
        )
    except OnnxplainError:
        if asked:
            raise
        return ()


def _candidate_row(candidate: Candidate) -> tuple[str, ...]:
    height, width = candidate.size_hw
    mark = "*" if candidate.chosen else ""
    size, share = f"{height}x{width}", f"{candidate.share:.0%}"
    return mark, str(candidate.channels), size, share, ", ".join(candidate.methods), candidate.name


def _print_engine(engine: Engine) -> None:
    from onnxplain.explainers import METHODS, supported

    spec = engine.spec
    kind = "explainable" if spec.layers else "not instrumented"
    batch = "any" if engine.fixed_batch is None else str(engine.fixed_batch)
    click.echo(f"{engine.path}: {kind}, {engine.path.stat().st_size / 1e6:.2f} MB, batch {batch}")
    working = supported(engine)
    lines = [*describe_spec(spec), *describe_sidecars(engine.sidecars), *_tail_line(engine)]
    lines.append(("methods", ", ".join(working)))
    saturating = _saturating(engine)
    if saturating:
        lines.append(("warning", describe_products(saturating)))
    lines += [(f"not {name}", method.needs.otherwise) for name, method in METHODS.items() if name not in working]
    print_description(lines)
    if spec.layers:
        click.echo()
        print_table(("layer", "channels", "size"), layer_columns(spec), numbers=("channels",))


def _saturating(engine: Engine) -> tuple[str, ...]:
    """The products of the file that can be wrong here; other providers than the CPU's have kernels of their own."""
    from onnxplain.runtime.saturation import products_saturating_here

    return products_saturating_here(engine.path) if engine.providers[0] == "CPUExecutionProvider" else ()


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


def _trial_tree(trial: Trial) -> dict[str, Any]:
    top = [{"class_id": index, "label": label, "score": json_number(score)} for index, label, score in trial.top]
    return {"preset": trial.preset, "channels": trial.channels, "layout": trial.layout, "top": top}
