"""Doing parts in this process."""

from __future__ import annotations

from collections.abc import Callable

from onnxplain.batch.job import BatchEvent, BatchJob
from onnxplain.batch.part import PartMaker
from onnxplain.batch.todo import PartsToDo


def make_in_process(job: BatchJob, todo: PartsToDo, report: Callable[[BatchEvent], None]) -> None:
    """Do all parts in order. Raises NothingExplainedError, and OnnxplainError if a part cannot be written."""
    maker = PartMaker(job)
    while (task := todo.take()) is not None:
        done = maker.make(task, report)
        todo.mark_done()
        report(done)
