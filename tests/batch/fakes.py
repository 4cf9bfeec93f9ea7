"""A fleet without processes, with a clock of its own: every task takes a time, and workers die as they are told."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from onnxplain.batch.fleet import TaskResult
from onnxplain.batch.job import ImageTrial, PartDone, PartTask
from onnxplain.batch.messages import TrialDone, WorkerFailed, WorkerReady

Task = PartTask | ImageTrial | None


@dataclass
class FakeFleet:
    """`seconds`: what a task takes on a worker. `dies`: whether the worker dies at the end of it; None: it opens."""

    seconds: Callable[[int, Task], float] = lambda worker, task: 1.0
    dies: Callable[[int, Task], bool] = lambda worker, task: False
    fails: Callable[[int, Task], WorkerFailed | None] = lambda worker, task: None
    attempts: int = 3
    now: float = 0.0
    began: list[tuple[int, Task]] = field(default_factory=list)
    keep_log: bool = True
    _number: int = 0
    _ends: list[tuple[float, int]] = field(default_factory=list)
    _results: dict[int, TaskResult] = field(default_factory=dict)

    def open(self, worker: int) -> int:
        return self._begin(worker, None, WorkerReady(), 1)

    def make(self, worker: int, task: PartTask) -> int:
        done = PartDone(task.part, len(task.images), len(task.left_out))
        return self._begin(worker, task, done, self.attempts)

    def try_image(self, worker: int, task: ImageTrial) -> int:
        return self._begin(worker, task, TrialDone(), 1)

    def wait(self, handles: Sequence[int], seconds: float | None) -> Sequence[int]:
        end, handle = self._ends[0]
        if seconds is not None and end > self.now + seconds:
            self.now += seconds
            return []
        heapq.heappop(self._ends)
        self.now = max(self.now, end)
        return [handle]

    def result(self, handle: int) -> TaskResult:
        return self._results.pop(handle)

    def clock(self) -> float:
        return self.now

    def _begin(self, worker: int, task: Task, result: TaskResult, attempts: int) -> int:
        seconds, answer = 0.0, None
        for _ in range(attempts):
            if self.keep_log:
                self.began.append((worker, task))
            seconds += self.seconds(worker, task)
            if not self.dies(worker, task):
                answer = self.fails(worker, task) or result
                break
        self._number += 1
        self._results[self._number] = answer
        heapq.heappush(self._ends, (self.now + seconds, self._number))
        return self._number
