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
from onnxplain.batch.stores.output import LocalOutput, OutputPlace
from onnxplain.batch.todo import PartsToDo
from onnxplain.batch.worker_pool import make_with_workers
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explanations.explanation_folder import PictureStyle
from onnxplain.explanations.run_record import hash_of, record_run
from onnxplain.files.shown_paths import without_folders
from onnxplain.machine.providers import HOST
from onnxplain.runtime.image import DEFAULT_MAX_MEGAPIXELS
from onnxplain.runtime.sessions.binding import memory_of

if TYPE_CHECKING:
    from onnxplain.batch.ray_fleet import RayChoice
    from onnxplain.explanations.open_model import OpenedModel
    from onnxplain.explanations.open_options import OpenOptions
    from onnxplain.explanations.questions import Question


@dataclass(frozen=True)
class PlanChoice:
    """What the user says about a plan. None: as the plan in the folder says, else the default."""

    part_size: int | None = None
    threads: int | None = None

    def settled(self, output: OutputPlace, workers: int) -> PlanChoice:
        """The same without None. By default a part has 256 images, and the processor's cores are shared out.

        Raises OnnxplainError for a folder whose plan cannot be read.
        """
        header: Mapping[str, Any] = read_header(output) or {}
        shared = max(1, _cores() // max(workers, 1))
        return PlanChoice(
            self.part_size or header.get("part_size", DEFAULT_PART_SIZE), self.threads or header.get("threads", shared)
        )


@dataclass(frozen=True, eq=False)
class BatchRequest:
    """What is asked for: the opened model, the questions for every image, the source, and the folder.

    `options`: those the model was opened with; `threads` among them must be those of the plan. `choice`: a settled one.
    `workers`: the number of processes; 0: this one does everything. `ray`: they are actors of Ray there; 0: as many as
    it has room for.
    """

    opened: OpenedModel
    options: OpenOptions
    questions: tuple[Question, ...]
    source: str
    output: OutputPlace
    choice: PlanChoice
    workers: int = 0
    ray: RayChoice | None = None
    column: str | None = None
    max_megapixels: float | None = None


def run_batch(request: BatchRequest, show: Callable[[Moment], None]) -> BatchCounts:
    """Explain every image of the source, or those whose part is not there yet. `show` is called as the work goes on.

    Raises UnsupportedError for a detector; OnnxplainError for a source without images, a folder of another run or one
    that another process writes to, a first part of which no image can be explained, a part that cannot be written, and
    workers that cannot live.
    """
    detector = request.opened.engine.spec.detector
    if detector is not None:
        raise UnsupportedError(
            f"{request.opened.engine.source}: found a detector (layout {detector.layout_name}), expected a model with "
            "heads: a batch has no rows for boxes; use `onnxplain explain` with the folder of images"
        )
    for question in request.questions:
        if dict(question.options).get("budget_seconds") is not None:
            raise OnnxplainError(
                "budget_seconds: found a limit of time, expected none: a batch must not depend on the machine's speed; "
                "use --tolerance or --masks"
            )
    if request.ray is not None:
        from onnxplain.batch.ray_fleet import check_answers, make_with_ray

        # Before the folder belongs to this run.
        check_answers(request.ray.address)
    engine, choice = request.opened.engine, request.choice
    assert choice.part_size is not None and choice.threads is not None
    copies: MaskedCopies = "host" if memory_of(engine.providers) == HOST else "device"
    plan = BatchPlan(list_source(request.source, request.column), choice.part_size, choice.threads, copies)
    folder = BatchFolder(request.output)
    with request.output.lock():
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
                plan.at_once,
                request.max_megapixels or DEFAULT_MAX_MEGAPIXELS,
            )

            def report(event: BatchEvent) -> None:
                progress.add(event)
                show(progress.moment())

            todo = PartsToDo(plan, finished)
            if request.ray is not None:
                make_with_ray(job, todo, request.ray, request.workers, report, folder.check_part)
            elif request.workers:
                make_with_workers(job, todo, request.workers, report)
            else:
                make_in_process(job, todo, report)
        if not folder.is_finished:
            folder.finish(run, progress.counts)
        show(progress.moment())
    return progress.counts


def _record(request: BatchRequest, plan: BatchPlan) -> dict[str, Any]:
    """``run.json``: the record of a run of `explain`, with the plan and the source, and without pictures."""
    # Paths in the record are seen from there; a store has no place among them.
    folder = request.output.path if isinstance(request.output, LocalOutput) else Path()
    entries = dict(
        record_run(
            request.opened,
            request.options,
            request.questions,
            PictureStyle(),
            folder,
            request.max_megapixels,
        ).entries
    )
    del entries["pictures"]
    record = {
        **entries,
        "schema": BATCH_SCHEMA,
        "version": BATCH_VERSION,
        "source": without_folders(request.source, folder),
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
