"""`onnxplain compare`: how far the answers and the maps of two files of one model drift apart."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.images import ImageArguments, images_argument, megapixels_option
from onnxplain.cli.options.method import MethodArguments, layers_option, method_options
from onnxplain.cli.options.model import (
    ModelArguments,
    precision_option,
    provider_option,
    sidecar_option,
    timeout_option,
)
from onnxplain.cli.options.page import read_page
from onnxplain.cli.options.plain_file import ModelToExplain, plain_file_options
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.assumptions import warn_assumed
from onnxplain.cli.output.comparison_table import (
    METHOD_COLUMNS,
    answers_lines,
    comparison_tree,
    method_row,
    print_comparison,
    remark_rows,
    unlike_line,
)
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.tables import print_json
from onnxplain.cli.output.terminal import say
from onnxplain.errors import ModelError, UnsupportedError, VerificationError
from onnxplain.explanations.run_record import hash_of

if TYPE_CHECKING:
    from onnxplain.comparison.compare_models import ModelComparison
    from onnxplain.comparison.comparison_folders import ComparisonFolders
    from onnxplain.comparison.image_drift import ImageDrift
    from onnxplain.comparison.unlike import Unlike
    from onnxplain.explanations.open_model import OpenedModel


@dataclass(frozen=True)
class ComparisonOutput:
    """What is printed and written: JSON instead of tables, the rows of the table, the report's file."""

    as_json: bool
    top: int
    report: Path | None


@click.command("compare", short_help="How far two files of one model drift apart, in answers and maps.")
@click.argument("path", metavar="A.onnx")
@click.argument("other", metavar="B.onnx")
@images_argument
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="A method that `onnxplain methods` lists; may be given several times. Default: grad-cam, or rise if one of "
    "the files cannot be instrumented.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="LABEL|INDEX|box:0…box:3",
    help="What to explain, as in `onnxplain explain`, in the classes of A; may be given several times. Default: the "
    "class that A predicts, in both files.",
)
@layers_option
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="How many images the table shows, worst first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=read_page,
    metavar="REPORT.html",
    help="Also write an HTML page with the maps of both files side by side (extra `report`).",
)
@method_options
@plain_file_options
@answer_options
@sidecar_option
@provider_option
@precision_option
@timeout_option
@megapixels_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("source", ModelToExplain)
@gather("images", ImageArguments)
@gather("asked", MethodArguments)
@gather("shown", ComparisonOutput)
def compare(
    source: ModelToExplain,
    other: str,
    images: ImageArguments,
    asked: MethodArguments,
    targets: tuple[str, ...],
    shown: ComparisonOutput,
) -> None:
    """Compare two files of one model: float32 and float16 or int8, pruned, another version, another input size.

    For each IMAGE, both files answer, and both explain what A answers with: the class, the most probable label, or the
    number. The table shows changed answers, differences of scores or numbers, and how similar the maps are: Spearman's
    rank correlation, and the IoU of the parts above the method's threshold. Methods with a seed, such as rise, are run
    on A with a second seed too: this is their noise. A map drifts beyond noise if the two files differ more than the
    two seeds.

    Heads of classes, labels and values are compared, classes matched by label. What cannot be compared is named: other
    heads, classes that only one file has, a box head, a method that one file does not allow. All options apply to both
    files.

    Exit status: 0 whatever is found; 1 if some image could not be read; 2 if a model or an option cannot be used.
    """
    from onnxplain.comparison.compare_models import plan_comparison
    from onnxplain.comparison.comparison_folders import ComparisonFolders

    if shown.report is not None:
        from onnxplain.report.page_file import require_report_extra

        require_report_extra()
    sources = images.paths()
    drifts: list[ImageDrift] = []
    with progress_bar(quiet=shown.as_json) as bar, ExitStack() as kept:
        files = source, replace(source, model=replace(source.model, path=other))
        models, methods, left_out = _open_both(files, asked, bar, quiet=shown.as_json)
        comparison = plan_comparison(
            models[0], models[1], methods, targets, functools.partial(_options_for, asked, methods), left_out
        )
        folders = None
        if shown.report is not None:
            scratch = kept.enter_context(tempfile.TemporaryDirectory(prefix="onnxplain-compare-"))
            folders = ComparisonFolders(Path(scratch), comparison, source.options_for(asked), sources)
        with nullcontext() if folders is None else folders:
            for number, compared in enumerate(comparison.images(sources, bar, images.max_megapixels)):
                if number == 0:
                    for model in models:
                        warn_assumed(model.engine.spec.input, bar.echo)
                drifts.append(compared.drift)
                if compared.drift.error:
                    bar.echo(f"onnxplain: {compared.drift.error}", err=True)
                if folders is not None:
                    folders.add(compared)
        if folders is not None and shown.report is not None:
            _write_report(shown.report, folders, comparison, drifts)
    _print(shown, comparison, drifts, (source.model.path, other))
    if any(drift.error for drift in drifts):
        raise click.exceptions.Exit(1)


def _print(
    shown: ComparisonOutput, comparison: ModelComparison, drifts: Sequence[ImageDrift], paths: Sequence[str | Path]
) -> None:
    if shown.as_json:
        described = [
            {
                "file": str(path),
                "sha256": hash_of(Path(path)),
                "input_size_hw": list(model.engine.spec.input.size_hw),
            }
            for path, model in zip(paths, (comparison.first, comparison.second), strict=True)
        ]
        print_json(comparison_tree(described, drifts, comparison.unlike))
        return
    say(f"first: {paths[0]}")
    say(f"second: {paths[1]}")
    print_comparison(drifts, comparison.unlike, shown.top)
    if shown.report is not None:
        say()
        say(f"Report: {shown.report}")


def _open_both(
    files: Sequence[ModelToExplain], asked: MethodArguments, bar: Bar, *, quiet: bool
) -> tuple[list[OpenedModel], tuple[str, ...], list[Unlike]]:
    """Both models, the methods for both, and the methods that one of the files does not allow."""
    from onnxplain.comparison.unlike import Unlike

    opened, left_out = [], []
    methods = asked.methods
    for number, file in enumerate(files):
        options = file.options_for(asked)
        try:
            model = file.open(options, replace(asked, methods=methods), bar, quiet=quiet)
        except (ModelError, UnsupportedError, VerificationError) as error:
            needy = [name for name in methods if _needs_gradient(name)]
            # What the user stated about the graph must hold for the answers too, and only instrumenting reads it.
            if not needy or options.for_plain_files or options.layers:
                raise
            methods = tuple(name for name in methods if name not in needy)
            # Without any method left, the answers are still compared; rise needs only scores.
            plain = replace(asked, methods=methods or ("rise",), method_options={})
            model = file.open(options, plain, bar, quiet=quiet)
            for name in needy:
                texts = (str(error), name) if number == 0 else (name, str(error))
                left_out.append(Unlike("method", *texts, False))
        opened.append(model)
    if not asked.methods:
        methods = _common_default(*opened)
    return opened, methods, left_out


def _common_default(first: OpenedModel, second: OpenedModel) -> tuple[str, ...]:
    """The default method of both; if they differ, as with the attention of one, grad-cam, or else rise."""
    from onnxplain.explainers.registry import supported
    from onnxplain.explanations.open_model import DEFAULT_METHOD, FALLBACK_METHOD

    if first.methods == second.methods:
        return first.methods
    both = all(DEFAULT_METHOD in supported(each.engine) for each in (first, second))
    return (DEFAULT_METHOD if both else FALLBACK_METHOD,)


def _needs_gradient(method: str) -> bool:
    from onnxplain.explainers.needs import PLAIN
    from onnxplain.explainers.registry import find_method

    return find_method(method).needs not in PLAIN


def _options_for(asked: MethodArguments, methods: Sequence[str], opened: OpenedModel) -> Mapping[str, Any]:
    """The methods' options for a model, whose layers may have other names."""
    return asked.options_at(opened.layer) if any(map(_needs_gradient, methods)) else dict(asked.method_options)


def _write_report(
    path: Path, folders: ComparisonFolders, comparison: ModelComparison, drifts: Sequence[ImageDrift]
) -> None:
    from onnxplain.comparison.image_drift import summarise
    from onnxplain.explanations.verify_folder import read_run
    from onnxplain.report.folder_report import report_of
    from onnxplain.report.page_file import Table, write_report
    from onnxplain.report.report_images import Remark

    # A map that is not alike at all weighs as much as a changed answer.
    remarks = {
        folders.hashes[drift.image]: Remark(
            tuple(remark_rows(drift)), 5 * max((each.rank for each in drift.maps), default=0.0)
        )
        for drift in drifts
        if drift.image in folders.hashes
    }
    lines = [*answers_lines(drifts), *map(unlike_line, comparison.unlike)]
    findings = [
        Table("Drift of the maps", METHOD_COLUMNS, [method_row(each) for each in summarise(drifts)]),
        Table("Answers and models", ("found",), [(line,) for line in lines]),
    ]
    runs = [read_run(folder) for folder in folders.paths]
    write_report(report_of(runs, findings=findings, remarks=remarks), path)
