"""The parts that are still to do, and what happens to a part whose process is killed."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from onnxplain.batch.job import PartTask, TrialTask
from onnxplain.batch.plan import BatchPlan
from onnxplain.errors import OnnxplainError

MOST_KILLS = 3
"""A part that kills its process so often is suspected: each of its images is tried alone."""

MOST_KILLS_ALONE = 2
"""An image that kills its process so often while it is tried alone is left out."""


class PartsToDo:
    """Hands out the tasks of a batch. A part goes through three stages as often as its process is killed in each.

    As planned; then, after a trial of each image alone, without the images that killed again; then with one image per
    run of the model. So a part whose process was killed from outside has the planned bytes in the end.
    """

    def __init__(self, plan: BatchPlan, finished: Collection[int]) -> None:
        self._plan, self._finished = plan, set(finished)
        self._next = 0
        self._again: deque[PartTask | TrialTask] = deque()
        self._kills: dict[int, int] = {}
        self._kills_alone: dict[tuple[int, int], int] = {}
        self._tried: set[int] = set()
        self._one_is_done = bool(self._finished)
        # Parts that are not written yet.
        self.left = plan.parts - len(self._finished)

    def take(self) -> PartTask | None:
        """The next part as planned, for a process that cannot outlive a kill; None: there is none left."""
        while self._next < self._plan.parts:
            part = self._next
            self._next += 1
            if part not in self._finished:
                return PartTask(part, self._plan.images_of(part), may_all_fail=self._one_is_done)
        return None

    def take_any(self) -> PartTask | TrialTask | None:
        """The next task, those of killed processes first; None: there is none at the moment."""
        return self._again.popleft() if self._again else self.take()

    def give_back(self, task: PartTask | TrialTask) -> None:
        """The process died before it began the task."""
        self._again.append(task)

    def mark_done(self) -> None:
        """A part was written: from now on one may hold failures alone."""
        self._one_is_done = True
        self.left -= 1

    def after_trial(self, task: TrialTask) -> None:
        """Every image of a part was tried: do the part, without those that killed."""
        self._kills[task.part] = 0
        self._tried.add(task.part)
        may_all_fail = self._one_is_done or bool(task.left_out)
        self._again.append(PartTask(task.part, task.images, task.left_out, may_all_fail))

    def after_kill(self, task: PartTask | TrialTask, trying: int | None, times: int = 1) -> None:
        """The process died at this task, so many times in a row. `trying`: the image that was tried alone.

        Raises OnnxplainError.
        """
        if isinstance(task, TrialTask):
            self._again.append(self._next_trial(task, task.start if trying is None else trying))
            return
        kills = self._kills[task.part] = self._kills.get(task.part, 0) + times
        if kills < MOST_KILLS:
            self._again.append(task)
        elif task.part not in self._tried:
            self._again.append(TrialTask(task.part, task.images))
        elif not task.alone:
            self._kills[task.part] = 0
            self._again.append(PartTask(task.part, task.images, task.left_out, task.may_all_fail, alone=True))
        else:
            raise OnnxplainError(
                f"part {task.part}: found that its process dies even with one image at a time, expected it to live: "
                f"look at the memory, and at the images from {task.images[0]} on"
            )

    def _next_trial(self, task: TrialTask, place: int) -> TrialTask:
        kills = self._kills_alone[task.part, place] = self._kills_alone.get((task.part, place), 0) + 1
        if kills < MOST_KILLS_ALONE:
            return TrialTask(task.part, task.images, place, task.left_out)
        return TrialTask(task.part, task.images, place + 1, task.left_out | {place})
