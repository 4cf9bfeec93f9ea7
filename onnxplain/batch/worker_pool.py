"""Doing parts in processes of their own, each replaced when it dies."""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from onnxplain.batch.job import BatchEvent, BatchJob, PartDone, PartLost, PartProgress, PartTask, TrialTask
from onnxplain.batch.messages import ImageTried, TrialDone, WorkerFailed, WorkerReady, receive_bytes, send
from onnxplain.batch.part import NothingExplainedError
from onnxplain.batch.todo import MOST_KILLS, PartsToDo
from onnxplain.errors import OnnxplainError

# The modules come from where this process has them. -P: nothing is imported from the current folder by its way.
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from onnxplain.batch.worker import work; work()"


def make_with_workers(job: BatchJob, todo: PartsToDo, workers: int, report: Callable[[BatchEvent], None]) -> None:
    """Do all parts with `workers` processes. All of them have ended when this returns or raises.

    Raises NothingExplainedError, the errors of opening the model in a worker, and OnnxplainError if processes die
    before they have opened it, or at a part even with one image at a time.
    """
    pool = _Pool(job, todo, report)
    try:
        pool.run(workers)
    finally:
        pool.end()


class _Process:
    """A worker process. Whatever it says goes to `inbox`, and None when it ends."""

    def __init__(self, job: BatchJob, inbox: queue.Queue[tuple[_Process, Any]]) -> None:
        self.task: PartTask | TrialTask | None = None
        self.trying: int | None = None
        self.ready = False
        quiet = None if os.environ.get("ONNXPLAIN_DEBUG") else subprocess.DEVNULL
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=quiet,
        )
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._to, self._from = self._popen.stdin, self._popen.stdout
        threading.Thread(target=self._listen, args=(inbox,), name="onnxplain-worker-listener", daemon=True).start()
        self.say(job)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._popen.pid

    def say(self, message: Any) -> None:
        """Send a message. If the process is dead, its end is in the inbox soon."""
        try:
            send(self._to, message)
        except OSError:
            return

    def give(self, task: PartTask | TrialTask) -> None:
        """Let the process do a task."""
        self.task, self.trying = task, None
        self.say(task)

    def end(self) -> None:
        """End the process now, and wait for it."""
        self._popen.kill()
        self._popen.wait()
        try:
            self._to.close()
        except OSError:
            return

    def _listen(self, inbox: queue.Queue[tuple[_Process, Any]]) -> None:
        with self._from as stream:
            while (content := receive_bytes(stream)) is not None:
                inbox.put((self, pickle.loads(content)))
        inbox.put((self, None))


class _Pool:
    def __init__(self, job: BatchJob, todo: PartsToDo, report: Callable[[BatchEvent], None]) -> None:
        self._job, self._todo, self._report = job, todo, report
        self._inbox: queue.Queue[tuple[_Process, Any]] = queue.Queue()
        self._processes: list[_Process] = []
        self._deaths_at_start = 0

    def run(self, workers: int) -> None:
        """Start the processes, and handle what they say until nothing is left to do."""
        waiting = [task for _ in range(workers) if (task := self._todo.take_any()) is not None]
        for task in waiting:
            self._start(task)
        while self._processes:
            process, message = self._inbox.get()
            if process in self._processes:
                self._handle(process, message)

    def end(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.end()
        self._processes = []

    def _start(self, task: PartTask | TrialTask) -> None:
        process = _Process(self._job, self._inbox)
        self._processes.append(process)
        process.give(task)

    def _handle(self, process: _Process, message: Any) -> None:
        if message is None:
            self._replace(process)
        elif isinstance(message, WorkerFailed):
            raise (NothingExplainedError if message.all_failed else OnnxplainError)(message.message)
        elif isinstance(message, WorkerReady):
            process.ready, self._deaths_at_start = True, 0
        elif isinstance(message, ImageTried):
            process.trying = message.place
        elif isinstance(message, PartProgress):
            self._report(message)
        elif isinstance(message, PartDone):
            # One that works shows that the model can be opened here.
            self._deaths_at_start = 0
            self._todo.mark_done()
            self._report(message)
            self._give_next(process)
        elif isinstance(message, TrialDone):
            assert isinstance(process.task, TrialTask)
            self._todo.after_trial(process.task)
            self._give_next(process)

    def _give_next(self, process: _Process) -> None:
        task = self._todo.take_any()
        if task is not None:
            process.give(task)
            return
        self._processes.remove(process)
        process.end()

    def _replace(self, process: _Process) -> None:
        """A process died: its task is done again, by a new one."""
        self._processes.remove(process)
        process.end()
        assert process.task is not None
        if process.ready:
            self._report(PartLost(process.task.part))
            self._todo.after_kill(process.task, process.trying)
        else:
            self._deaths_at_start += 1
            if self._deaths_at_start == MOST_KILLS:
                raise OnnxplainError(
                    f"workers: found {MOST_KILLS} that died while they opened the model, expected them to live: use "
                    "fewer --workers, and look at the memory"
                )
            self._todo.give_back(process.task)
        task = self._todo.take_any()
        assert task is not None
        self._start(task)
