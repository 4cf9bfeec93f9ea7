"""The stages of a part whose process is killed, without any process."""

from __future__ import annotations

import pytest

from onnxplain.batch.job import PartTask, TrialTask
from onnxplain.batch.plan import BatchPlan
from onnxplain.batch.todo import MOST_KILLS, MOST_KILLS_ALONE, PartsToDo
from onnxplain.errors import OnnxplainError

PLAN = BatchPlan(tuple("abcdefg"), 3, 1, "host")


def todo() -> PartsToDo:
    return PartsToDo(PLAN, {0})


def kill(parts: PartsToDo, times: int, trying: int | None = None) -> PartTask | TrialTask:
    """The task after that many kills at the one that comes next."""
    for _ in range(times):
        task = parts.take_any()
        assert task is not None
        parts.after_kill(task, trying)
    following = parts.take_any()
    assert following is not None
    return following


def test_parts_that_are_there_are_not_done_again() -> None:
    parts = PartsToDo(PLAN, {0, 2})
    assert parts.take_any() == PartTask(1, ("d", "e", "f"))
    assert parts.take_any() is None


def test_only_after_a_part_is_done_may_one_fail_as_a_whole() -> None:
    parts = PartsToDo(PLAN, ())
    assert [parts.take().may_all_fail, parts.take().may_all_fail] == [False, False]
    parts.mark_done()
    assert parts.take().may_all_fail


def test_a_part_is_done_again_as_planned_until_the_last_kill() -> None:
    assert kill(todo(), MOST_KILLS - 1) == PartTask(1, ("d", "e", "f"))


def test_then_its_images_are_tried_and_it_is_done_as_planned_if_none_kills() -> None:
    parts = todo()
    trial = kill(parts, MOST_KILLS)
    assert trial == TrialTask(1, ("d", "e", "f"))
    parts.after_trial(trial)
    assert parts.take_any() == PartTask(1, ("d", "e", "f"))


def test_an_image_that_kills_alone_is_left_out_and_the_trial_goes_on_behind_it() -> None:
    parts = todo()
    trial = kill(parts, MOST_KILLS)
    for _ in range(MOST_KILLS_ALONE - 1):
        parts.after_kill(trial, 1)
        trial = parts.take_any()
        assert trial == TrialTask(1, ("d", "e", "f"), start=1)
    parts.after_kill(trial, 1)
    trial = parts.take_any()
    assert trial == TrialTask(1, ("d", "e", "f"), start=2, left_out=frozenset({1}))
    parts.after_trial(trial)
    assert parts.take_any() == PartTask(1, ("d", "e", "f"), left_out=frozenset({1}))


def test_a_part_that_kills_after_its_trial_is_done_one_image_at_a_time_and_then_given_up() -> None:
    parts = todo()
    parts.after_trial(kill(parts, MOST_KILLS))
    alone = kill(parts, MOST_KILLS)
    assert alone == PartTask(1, ("d", "e", "f"), alone=True)
    for _ in range(MOST_KILLS - 1):
        parts.after_kill(alone, None)
        assert parts.take_any() == alone
    with pytest.raises(OnnxplainError, match="part 1: found that its process dies even with one image at a time"):
        parts.after_kill(alone, None)
