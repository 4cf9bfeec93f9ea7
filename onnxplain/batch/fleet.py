"""Doing parts with the workers of another engine, such as Ray: which worker gets which task, and what a death means."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from onnxplain.batch.job import BatchEvent, ImageTrial, PartDone, PartLost, PartTask, TrialTask
from onnxplain.batch.messages import TrialDone, WorkerFailed, WorkerReady
from onnxplain.batch.part import NothingExplainedError
from onnxplain.batch.todo import MOST_KILLS, PartsToDo
from onnxplain.errors import OnnxplainError

# A part that takes this many times as long as the mean is given to an idle worker as well; the first to end counts.
_STRAGGLER_FACTOR = 3.0
_MEAN_OVER = 20

Handle = TypeVar("Handle")
TaskResult = WorkerReady | PartDone | TrialDone | WorkerFailed | None
"""What became of a task; None: its worker died, also each time the engine did it again."""


class Fleet(Protocol[Handle]):
    """Workers of an engine that restarts them and repeats their tasks. A worker is known by its number.

    `attempts`: how often the engine begins a part before it says that its worker died.
    """

    attempts: int

    def open(self, worker: int) -> Handle:
        """Let a worker, new or not, open the model: WorkerReady."""
        ...

    def make(self, worker: int, task: PartTask) -> Handle:
        """Let a worker do a part: PartDone."""
        ...

    def try_image(self, worker: int, task: ImageTrial) -> Handle:
        """Let a worker explain one image and keep nothing, without repetition: TrialDone."""
        ...

    def wait(self, handles: Sequence[Handle], seconds: float | None) -> Sequence[Handle]:
        """Those that have ended, at least one unless the seconds are over."""
        ...

    def result(self, handle: Handle) -> TaskResult:
        """The result of a task that has ended."""
        ...


def make_with_fleet(
    fleet: Fleet[Handle],
    todo: PartsToDo,
    workers: int,
    report: Callable[[BatchEvent], None],
    check: Callable[[PartDone], None] = lambda done: None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Do all parts with up to `workers` workers of a fleet. `check` looks at the first part that each of them made.

    Raises NothingExplainedError, the errors of opening the model in a worker, those of `check`, and OnnxplainError if
    workers die before they have opened it, or at a part even with one image at a time.
    """
    _Run(fleet, todo, report, check, clock).run(workers)


@dataclass(frozen=True)
class _Running:
    """What a worker does: opening the model (None), a part, or the trial of one image of a part."""

    worker: int
    task: PartTask | TrialTask | None
    began: float
    trying: int | None = None


class _Run(Generic[Handle]):
    def __init__(
        self,
        fleet: Fleet[Handle],
        todo: PartsToDo,
        report: Callable[[BatchEvent], None],
        check: Callable[[PartDone], None],
        clock: Callable[[], float],
    ) -> None:
        self._fleet, self._todo, self._report, self._check, self._clock = fleet, todo, report, check, clock
        self._running: dict[Handle, _Running] = {}
        self._idle: list[int] = []
        # Parts that are begun and not done, each with the workers at it.
        self._begun: dict[int, int] = {}
        self._seconds: list[float] = []
        self._deaths_at_start = 0
        # The workers whose parts were seen where they should be.
        self._checked: set[int] = set()

    def run(self, workers: int) -> None:
        """Open as many workers as there are tasks for, and go on until nothing is left."""
        for worker in range(min(workers, self._todo.left)):
            self._open(worker)
        while self._todo.left:
            for handle in self._fleet.wait(list(self._running), self._patience()):
                running = self._running.pop(handle)
                self._take(running, self._fleet.result(handle))
            self._give_to_idle()

    def _take(self, running: _Running, result: TaskResult) -> None:
        task = running.task
        if isinstance(result, WorkerFailed):
            raise (NothingExplainedError if result.all_failed else OnnxplainError)(result.message)
        if isinstance(task, PartTask) and task.part in self._begun:
            self._begun[task.part] -= 1
        if result is None:
            self._after_death(running)
        elif isinstance(result, WorkerReady):
            self._deaths_at_start = 0
            self._idle.append(running.worker)
        elif isinstance(result, PartDone):
            # One that works shows that the model can be opened.
            self._deaths_at_start = 0
            self._idle.append(running.worker)
            if result.part in self._begun:
                del self._begun[result.part]
                self._seconds = [*self._seconds[1 - _MEAN_OVER :], self._clock() - running.began]
                self._check_first_of(running.worker, result)
                self._todo.mark_done()
                self._report(result)
        else:
            assert isinstance(task, TrialTask) and running.trying is not None
            self._try_from(running.worker, task, running.trying + 1)

    def _check_first_of(self, worker: int, done: PartDone) -> None:
        """Look at a worker's first part. To look at each one takes longer than a part in a store, with many workers."""
        if worker not in self._checked:
            self._check(done)
            self._checked.add(worker)

    def _after_death(self, running: _Running) -> None:
        task, worker = running.task, running.worker
        # It may begin again on another machine.
        self._checked.discard(worker)
        if task is None:
            self._deaths_at_start += 1
            if self._deaths_at_start == MOST_KILLS:
                raise OnnxplainError(
                    f"workers: found {MOST_KILLS} that died while they opened the model, expected them to live: look "
                    "at the memory of their machines"
                )
        elif isinstance(task, TrialTask):
            self._todo.after_kill(task, running.trying)
        elif self._begun.get(task.part) == 0:
            # No other worker is at it, and none has done it.
            del self._begun[task.part]
            self._report(PartLost(task.part))
            self._todo.after_kill(task, None, self._fleet.attempts)
        self._open(worker)

    def _give_to_idle(self) -> None:
        while self._idle:
            task = self._todo.take_any() or self._straggling()
            if task is None:
                return
            worker = self._idle.pop()
            if isinstance(task, TrialTask):
                self._try_from(worker, task, task.start)
            else:
                self._begun[task.part] = self._begun.get(task.part, 0) + 1
                self._begin(self._fleet.make(worker, task), worker, task)

    def _try_from(self, worker: int, task: TrialTask, place: int) -> None:
        """Try the next image of a trial that is not left out; behind the last one the trial is done."""
        while place in task.left_out:
            place += 1
        if place < len(task.images):
            handle = self._fleet.try_image(worker, ImageTrial(task.images[place], place))
            self._begin(handle, worker, task, place)
            return
        self._todo.after_trial(task)
        self._idle.append(worker)

    def _open(self, worker: int) -> None:
        self._begin(self._fleet.open(worker), worker, None)

    def _begin(self, handle: Handle, worker: int, task: PartTask | TrialTask | None, trying: int | None = None) -> None:
        self._running[handle] = _Running(worker, task, self._clock(), trying)

    def _straggling(self) -> PartTask | None:
        """A part that takes long and has one worker: its bytes do not depend on who writes them first."""
        limit = self._late()
        if limit is None:
            return None
        late = [
            running
            for running in self._running.values()
            if isinstance(running.task, PartTask) and self._begun.get(running.task.part) == 1 and running.began <= limit
        ]
        slowest = min(late, key=lambda running: running.began, default=None)
        return slowest.task if slowest is not None and isinstance(slowest.task, PartTask) else None

    def _late(self) -> float | None:
        """What began before this moment is late; None: nothing is known."""
        if not self._seconds:
            return None
        return self._clock() - _STRAGGLER_FACTOR * sum(self._seconds) / len(self._seconds)

    def _patience(self) -> float | None:
        """Seconds to wait before idle workers are looked after again."""
        if not self._idle or not self._seconds:
            return None
        return max(0.05, sum(self._seconds) / len(self._seconds))
