"""`onnxplain batch`: explain a whole source of images in parts."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from onnxplain.cli.main import INTERRUPTED
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.images import megapixels_option
from onnxplain.cli.options.method import MethodArguments, layers_option, method_options
from onnxplain.cli.options.model import (
    ModelArguments,
    precision_option,
    provider_option,
    sidecar_option,
    timeout_option,
)
from onnxplain.cli.options.plain_file import ModelToExplain, plain_file_options
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.assumptions import warn_assumed
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.terminal import say
from onnxplain.explanations.questions import plan_questions
from onnxplain.extras import require_modules
from onnxplain.files.json_bytes import json_text

if TYPE_CHECKING:
    from onnxplain.batch.progress import Moment
    from onnxplain.batch.ray_fleet import RayChoice
    from onnxplain.batch.stores.output import OutputPlace

_SECONDS_BETWEEN_LINES = 1.0


@dataclass(frozen=True)
class BatchArguments:
    """The source, the folder, and how the parts are made."""

    images_source: str
    output: str
    column: str | None
    part_size: int | None
    workers: int
    address: str | None
    worker_gpus: float | None
    worker_resources: tuple[str, ...]
    threads: int | None
    max_megapixels: float | None
    as_json: bool
    quiet: bool


@click.command(short_help="Explain a whole source of images in parts, with one process or many.")
@click.argument("path", metavar="MODEL.onnx", required=False, default="")
@click.argument("images_source", metavar="SOURCE", required=False, default="")
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="A method that `onnxplain methods` lists; may be given several times. Default: grad-cam, or rise for a file "
    "that cannot be instrumented.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="LABEL|INDEX|box:0…box:3",
    help="What to explain, as for `onnxplain explain`. May be given several times. Default: the predicted class.",
)
@layers_option
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    default="",
    help="Folder to write to, or a URI such as s3://bucket/folder. It is created if it is missing. Required.",
)
@click.option(
    "--column", metavar="NAME", help="With a table: the column of paths. Default: image, path, file or the only one."
)
@click.option(
    "--part-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Images per part. Default: 256, or as the plan in OUT says.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Number of worker processes. One that is killed is replaced. Default: 0, this process does everything; with "
    "--address, as many as there is room for.",
)
@click.option(
    "--address",
    metavar="local|ADDRESS",
    help="Run the workers on Ray (extra `ray`): on a cluster started on this machine, or the one at this address, such "
    "as 10.0.0.1:6379 or auto.",
)
@click.option(
    "--worker-gpus",
    type=click.FloatRange(min=0),
    metavar="N",
    help="With --address: GPUs of each worker; 0.25 lets four share one. Default: 0.",
)
@click.option(
    "--worker-resource",
    "worker_resources",
    multiple=True,
    metavar="NAME=AMOUNT",
    help="With --address: another resource of Ray that each worker takes, such as one that only the machines with the "
    "images have. May be given several times.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads of each process's engine. Default: the processor's cores shared out, or as the plan in OUT says.",
)
@click.option(
    "--status",
    metavar="OUT",
    help="Only say how far the batch in this folder is. MODEL, SOURCE and -o are left out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the progress as JSON lines and nothing else.")
@click.option("--quiet", is_flag=True, help="Print no progress. Errors are still printed.")
@method_options
@plain_file_options
@answer_options
@sidecar_option
@provider_option
@precision_option
@timeout_option
@preprocessing_options
@megapixels_option
@gather("model", ModelArguments)
@gather("source", ModelToExplain)
@gather("asked", MethodArguments)
@gather("wanted", BatchArguments)
def batch(
    source: ModelToExplain,
    asked: MethodArguments,
    wanted: BatchArguments,
    targets: tuple[str, ...],
    status: str | None,
) -> None:
    """Explain every image of SOURCE with MODEL, in parts that nothing can lose or double (extra `batch`).

    SOURCE is a folder with its subfolders, a pattern, a table of paths (.csv or .parquet), or a URI that pyarrow or
    fsspec opens, such as s3://bucket/photos. OUT receives plan.jsonl, run.json, and part-00000.parquet,
    part-00001.parquet … with one row per image, method and target, and one row for an image that failed. _SUCCESS is
    written last. The columns are described in docs/batch.md.

    The same command continues a run that was stopped or killed: parts that are there are kept. A folder with another
    model, source or option is refused.

    Exit status: 0 done; 1 done, but some images failed; 2 wrong usage, a model that cannot be used, or a first part in
    which every image failed; 130 interrupted.
    """
    require_modules("batch", "pyarrow")
    if status is not None:
        if source.model.path or wanted.output:
            raise click.UsageError("found MODEL or -o beside --status OUT, expected --status alone")
        _say_status(status, as_json=wanted.as_json)
        return
    if not (source.model.path and wanted.images_source and wanted.output):
        raise click.UsageError("found too few words, expected MODEL, SOURCE and -o OUT, or --status OUT")
    raise click.exceptions.Exit(_run(source, asked, targets, wanted))


def _run(source: ModelToExplain, asked: MethodArguments, targets: tuple[str, ...], wanted: BatchArguments) -> int:
    """The exit status."""
    from onnxplain.batch.run_batch import BatchRequest, PlanChoice, run_batch
    from onnxplain.batch.stores.output import open_output

    output = open_output(wanted.output)
    ray = _ray_choice(wanted)
    choice = PlanChoice(wanted.part_size, wanted.threads).settled(output, wanted.workers)
    try:
        with progress_bar(quiet=wanted.quiet or wanted.as_json) as bar:
            options = replace(source.options_for(asked), threads=choice.threads)
            opened = source.open(options, asked, bar, quiet=wanted.quiet)
            questions = plan_questions(opened.engine, opened.methods, targets, asked.options_at(opened.layer))
            warn_assumed(opened.engine.spec.input, bar.echo)
            display = _Display(bar, as_json=wanted.as_json)
            request = BatchRequest(
                opened=opened,
                options=options,
                questions=questions,
                source=wanted.images_source,
                output=output,
                choice=choice,
                workers=wanted.workers,
                ray=ray,
                column=wanted.column,
                max_megapixels=wanted.max_megapixels,
            )
            counts = run_batch(request, display.show)
            display.end()
    except KeyboardInterrupt:
        say(f"onnxplain: interrupted: {output.title} keeps its whole parts; the same command continues", err=True)
        return INTERRUPTED
    if not (wanted.quiet or wanted.as_json):
        parts = "1 part" if counts.parts == 1 else f"{counts.parts} parts"
        say(f"{output.title}: {counts.images} images in {parts}, {counts.failed} failed")
        _say_failure(output)
    return 1 if counts.failed else 0


def _ray_choice(wanted: BatchArguments) -> RayChoice | None:
    if wanted.address is None:
        if wanted.worker_gpus is not None or wanted.worker_resources:
            raise click.UsageError("found --worker-gpus or --worker-resource, expected --address beside it")
        return None
    require_modules("ray", "ray")
    from onnxplain.batch.ray_fleet import RayChoice

    resources = {}
    for text in wanted.worker_resources:
        name, _, amount = text.rpartition("=")
        try:
            resources[name] = float(amount)
        except ValueError:
            name = ""
        if not name or not 0 < resources[name] < math.inf:
            raise click.UsageError(
                f"--worker-resource: found {text}, expected NAME=AMOUNT with an amount above 0, such as images=1"
            )
    return RayChoice(wanted.address, wanted.worker_gpus or 0.0, resources)


class _Display:
    """Shows moments of a batch: on the bar, or as JSON lines, at most one a second and the last one."""

    def __init__(self, bar: Bar, *, as_json: bool) -> None:
        self._bar, self._as_json = bar, as_json
        self._printed = 0.0
        self._last: Moment | None = None

    def show(self, moment: Moment) -> None:
        """Show a moment; as JSON only if the last line is old enough."""
        self._last = moment
        self._bar.expect(moment.images)
        self._bar.reach(moment.images_done)
        self._bar.say(moment.summary())
        if self._as_json and time.monotonic() - self._printed >= _SECONDS_BETWEEN_LINES:
            self._print("running", moment)

    def end(self) -> None:
        """Print the last line."""
        if self._as_json and self._last is not None:
            self._print("finished", self._last)

    def _print(self, state: str, moment: Moment) -> None:
        self._printed = time.monotonic()
        say(json_text({"state": state, **moment.as_json()}))


def _say_status(folder: str, *, as_json: bool) -> None:
    from onnxplain.batch.status import read_status
    from onnxplain.batch.stores.output import open_output

    status = read_status(open_output(folder))
    if as_json:
        say(json_text(status.as_json()))
        return
    moment = status.moment
    say(f"{folder}: {status.state}, {moment.parts_done} of {moment.parts} parts, {moment.summary()}")
    _say_failure(open_output(folder))


def _say_failure(output: OutputPlace) -> None:
    """The first image that failed, and where the others are; nothing if none did."""
    from onnxplain.batch.status import first_failure

    found = first_failure(output)
    if found is not None:
        others = "all of them: the rows of part-*.parquet with status failed, with their error"
        error = found.error if found.error.startswith(found.image) else f"{found.image}: {found.error}"
        say(f"onnxplain: {found.part}: {error} ({others})", err=True)
