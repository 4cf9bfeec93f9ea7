"""A whole batch: the plan is written or found again, the missing parts are done, the end is marked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from onnxplain.batch.folder import BatchCounts, BatchFolder, identity_of
from onnxplain.batch.in_process import make_in_process
from onnxplain.batch.job import BatchEvent, BatchJob
from onnxplain.batch.plan import DEFAULT_PART_SIZE, PLAN_FILE, BatchPlan, MaskedCopies, read_header
from onnxplain.batch.progress import BatchProgress, Moment
from onnxplain.batch.schema import BATCH_SCHEMA, BATCH_VERSION
from onnxplain.batch.source import list_source
from onnxplain.batch.storage import is_uri
from onnxplain.batch.todo import PartsToDo
from onnxplain.batch.worker_pool import make_with_workers
from onnxplain.errors import OnnxplainError
from onnxplain.explanations.explanation_folder import PictureStyle
from onnxplain.explanations.run_record import hash_of, record_run
from onnxplain.files.lock import lock_folder
from onnxplain.files.shown_paths import without_folders
from onnxplain.machine.providers import HOST
from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS
from onnxplain.runtime.sessions.binding import memory_of

if TYPE_CHECKING:
    from onnxplain.explanations.open_model import OpenedModel
    from onnxplain.explanations.open_options import OpenOptions
    from onnxplain.explanations.questions import Question


@dataclass(frozen=True)
class PlanChoice:
    """What the user says about a plan. None: as the plan in the folder says, else the default."""

    part_size: int | None = None
    threads: int | None = None

    def settled(self, folder: Path, workers: int) -> PlanChoice:
        """The same without None. By default a part has 256 images, and the processor's cores are shared out.

        Raises OnnxplainError for a folder whose plan cannot be read.
        """
        header: Mapping[str, Any] = read_header(folder) or {}
        shared = max(1, _cores() // max(workers, 1))
        return PlanChoice(
            self.part_size or header.get("part_size", DEFAULT_PART_SIZE), self.threads or header.get("threads", shared)
        )


@dataclass(frozen=True, eq=False)
class BatchRequest:
    """What is asked for: the opened model, the questions for every image, the source, and the folder.

    `options`: those the model was opened with; `threads` among them must be those of the plan. `choice`: a settled one.
    `workers`: the number of processes; 0: this one does everything.
    """

    opened: OpenedModel
    options: OpenOptions
    questions: tuple[Question, ...]
    source: str
    output: Path
    choice: PlanChoice
    workers: int = 0
    column: str | None = None
    max_megapixels: float | None = None


def check_output(output: str) -> Path:
    """The folder to write to. Raises OnnxplainError for a URI and for a file."""
    if is_uri(output):
        raise OnnxplainError(f"-o: found the URI {output}, expected a local folder: copy the parts when they are there")
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise OnnxplainError(f"-o: found the file {output}, expected a folder: give another name")
    return folder


def run_batch(request: BatchRequest, show: Callable[[Moment], None]) -> BatchCounts:
    """Explain every image of the source, or those whose part is not there yet. `show` is called as the work goes on.

    Raises OnnxplainError for a source without images, a folder of another run or one that another process writes to, a
    first part of which no image can be explained, a part that cannot be written, and workers that cannot live.
    """
    for question in request.questions:
        if dict(question.options).get("budget_seconds") is not None:
            raise OnnxplainError(
                "budget_seconds: found a limit of time, expected none: a batch must not depend on the machine's speed; "
                "use --tolerance or --masks"
            )
    engine, choice = request.opened.engine, request.choice
    assert choice.part_size is not None and choice.threads is not None
    copies: MaskedCopies = "host" if memory_of(engine.providers) == HOST else "device"
    plan = BatchPlan(list_source(request.source, request.column), choice.part_size, choice.threads, copies)
    folder = BatchFolder(request.output)
    with lock_folder(request.output):
        run = folder.begin(plan, _record(request, plan))
        finished = folder.finished_parts(run, plan.parts)
        already = BatchCounts(
            len(finished),
            sum(each.images for each in finished.values()),
            sum(each.failed for each in finished.values()),
        )
        progress = BatchProgress(len(plan.images), plan.parts, already)
        if already.parts < plan.parts:
            folder.reopen()
            job = BatchJob(
                engine,
                hash_of(engine.path),
                request.questions,
                request.output,
                run,
                choice.threads,
                copies,
                plan.at_once,
                request.max_megapixels or DEFAULT_MAX_MEGAPIXELS,
            )

            def report(event: BatchEvent) -> None:
                progress.add(event)
                show(progress.moment())

            todo = PartsToDo(plan, finished)
            if request.workers:
                make_with_workers(job, todo, request.workers, report)
            else:
                make_in_process(job, todo, report)
        if not folder.is_finished:
            folder.finish(progress.counts)
        show(progress.moment())
    return progress.counts


def _record(request: BatchRequest, plan: BatchPlan) -> dict[str, Any]:
    """``run.json``: the record of a run of `explain`, with the plan and the source, and without pictures."""
    entries = dict(
        record_run(
            request.opened,
            request.options,
            request.questions,
            PictureStyle(),
            request.output,
            request.max_megapixels,
        ).entries
    )
    del entries["pictures"]
    record = {
        **entries,
        "schema": BATCH_SCHEMA,
        "version": BATCH_VERSION,
        "source": without_folders(request.source, request.output),
        "plan": {
            "file": PLAN_FILE,
            "sha256": plan.sha256,
            "images": len(plan.images),
            "parts": plan.parts,
            "part_size": plan.part_size,
        },
        "engine": {**entries["engine"], "masked_copies": plan.masked_copies, "at_once": plan.at_once},
        "versions": {**entries["versions"], "pyarrow": pa.__version__},
    }
    return {**record, "identity": identity_of(record)}


def _cores() -> int:
    """The processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
