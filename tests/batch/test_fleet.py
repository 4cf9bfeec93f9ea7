"""The protocol between a driver and the workers of any engine: kills, culprits, stragglers, refusals."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from onnxplain.batch.fleet import make_with_fleet
from onnxplain.batch.job import ImageTrial, PartDone, PartLost, PartTask
from onnxplain.batch.messages import WorkerFailed
from onnxplain.batch.part import NothingExplainedError
from onnxplain.batch.plan import BatchPlan
from onnxplain.batch.ray_fleet import check_answers
from onnxplain.batch.todo import PartsToDo
from onnxplain.errors import OnnxplainError
from tests.batch.fakes import FakeFleet, Task

IMAGES = tuple(f"{number:03}" for number in range(40))
PLAN = BatchPlan(IMAGES, 4, 1, "host")


def run(fleet: FakeFleet, workers: int = 3, finished: tuple[int, ...] = ()) -> list[PartDone | PartLost]:
    events: list = []
    make_with_fleet(fleet, PartsToDo(PLAN, finished), workers, events.append, clock=fleet.clock)
    return events


def done_parts(events: list[PartDone | PartLost]) -> list[int]:
    return sorted(event.part for event in events if isinstance(event, PartDone))


def tasks(fleet: FakeFleet) -> list[PartTask]:
    return [task for _, task in fleet.began if isinstance(task, PartTask)]


def test_every_part_is_done_once_and_workers_share_them() -> None:
    fleet = FakeFleet()
    assert done_parts(run(fleet)) == list(range(10))
    assert len(tasks(fleet)) == 10
    assert set(Counter(worker for worker, task in fleet.began if task).values()) <= {3, 4}


def test_finished_parts_are_left_out_and_no_more_workers_begin_than_there_is_work_for() -> None:
    fleet = FakeFleet()
    assert done_parts(run(fleet, 8, finished=tuple(range(8)))) == [8, 9]
    assert {worker for worker, _ in fleet.began} == {0, 1}


@pytest.mark.parametrize("seed", range(5))
def test_workers_that_die_at_random_lose_and_double_nothing(seed: int) -> None:
    rng = random.Random(seed)
    fleet = FakeFleet(seconds=lambda worker, task: rng.uniform(0.5, 2), dies=lambda worker, task: rng.random() < 0.2)
    events = run(fleet)
    assert done_parts(events) == list(range(10))
    assert sum(event.failed for event in events if isinstance(event, PartDone)) <= 4


def test_an_image_that_kills_is_found_and_left_out() -> None:
    def dies(worker: int, task: Task) -> bool:
        images = task.images if isinstance(task, PartTask) else ()
        left_out = task.left_out if isinstance(task, PartTask) else ()
        if isinstance(task, ImageTrial):
            return task.image == "017"
        return "017" in images and 1 not in left_out

    fleet = FakeFleet(dies=dies)
    events = run(fleet)
    assert [event.part for event in events if isinstance(event, PartLost)] == [4]
    (failed,) = [event for event in events if isinstance(event, PartDone) and event.failed]
    assert (failed.part, failed.failed) == (4, 1)
    trials = [task.place for _, task in fleet.began if isinstance(task, ImageTrial)]
    assert trials == [0, 1, 1, 2, 3]


def test_a_part_that_always_kills_is_named() -> None:
    fleet = FakeFleet(dies=lambda worker, task: isinstance(task, PartTask) and task.part == 2)
    with pytest.raises(OnnxplainError, match="part 2: found that its process dies even with one image at a time"):
        run(fleet)
    assert [task.alone for task in tasks(fleet) if task.part == 2].count(True) == 3


def test_a_straggler_is_done_by_an_idle_worker_too_and_counts_once() -> None:
    fleet = FakeFleet(seconds=lambda worker, task: 1000.0 if worker == 1 and task else 1.0)
    events = run(fleet)
    assert done_parts(events) == list(range(10))
    assert fleet.now < 50
    (late,) = [task.part for worker, task in fleet.began if worker == 1 and isinstance(task, PartTask)]
    assert [task.part for task in tasks(fleet)].count(late) == 2


def test_a_straggler_whose_copy_dies_is_still_done() -> None:
    def dies(worker: int, task: Task) -> bool:
        return isinstance(task, PartTask) and worker != 1 and task.part == 1

    fleet = FakeFleet(seconds=lambda worker, task: 60.0 if worker == 1 and task else 1.0, dies=dies)
    assert done_parts(run(fleet)) == list(range(10))


def test_workers_that_cannot_open_the_model_are_one_line() -> None:
    with pytest.raises(OnnxplainError, match="found 3 that died while they opened the model"):
        run(FakeFleet(dies=lambda worker, task: task is None))


def test_a_worker_that_never_opens_the_model_does_not_stop_the_others() -> None:
    fleet = FakeFleet(
        seconds=lambda worker, task: 0.5 if task else 1.0, dies=lambda worker, task: task is None and worker == 1
    )
    assert done_parts(run(fleet, 2)) == list(range(10))


@pytest.mark.parametrize(("all_failed", "kind"), [(True, NothingExplainedError), (False, OnnxplainError)])
def test_what_a_worker_cannot_go_on_after_ends_the_run(all_failed: bool, kind: type[OnnxplainError]) -> None:
    def fails(worker: int, task: Task) -> WorkerFailed | None:
        return WorkerFailed("the disk is full", all_failed) if isinstance(task, PartTask) else None

    with pytest.raises(kind, match="the disk is full"):
        run(FakeFleet(fails=fails))


def test_a_part_that_is_not_where_the_driver_looks_ends_the_run() -> None:
    def check(done: PartDone) -> None:
        raise OnnxplainError(f"part {done.part} is elsewhere")

    fleet = FakeFleet()
    with pytest.raises(OnnxplainError, match="part 0 is elsewhere"):
        make_with_fleet(fleet, PartsToDo(PLAN, ()), 2, lambda event: None, check, fleet.clock)


def test_the_first_part_of_each_worker_is_looked_at_also_after_its_death() -> None:
    killed: list[Task] = []

    def dies(worker: int, task: Task) -> bool:
        if worker == 1 and isinstance(task, PartTask) and len(killed) < 3 and task.part >= 4:
            killed.append(task)
            return True
        return False

    fleet, looked = FakeFleet(dies=dies), []
    make_with_fleet(fleet, PartsToDo(PLAN, ()), 2, lambda event: None, looked.append, fleet.clock)
    assert len(killed) == 3
    assert len(looked) == 3


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "--address 127.0.0.1:1: found nothing that answers"),
        ("ray://127.0.0.1:1", "found nothing that answers"),
        ("127.0.0.1:99999", "found nothing that answers"),
        ("somewhere", "--address: found somewhere, expected local, auto, HOST:PORT"),
    ],
)
def test_an_address_that_does_not_answer_is_one_line(address: str, words: str) -> None:
    with pytest.raises(OnnxplainError, match=words):
        check_answers(address)
