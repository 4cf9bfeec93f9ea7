"""Work beside the model's thread: the same results in the same order, and errors where they belong."""

from __future__ import annotations

import threading
import time

import pytest

from onnxplain.batch.pipeline import one_behind


def test_results_come_in_order_from_another_thread_while_the_next_item_is_made() -> None:
    made: list[int] = []

    def items():
        for number in range(5):
            made.append(number)
            yield number

    def finish(number: int) -> tuple[int, str]:
        time.sleep(0.002 * (5 - number))
        return number, threading.current_thread().name

    seen = []
    for number, thread in one_behind(finish, items()):
        seen.append((number, len(made)))
        assert thread.startswith("onnxplain-rows")
    assert seen == [(0, 2), (1, 3), (2, 4), (3, 5), (4, 5)]


def test_no_items_give_no_results() -> None:
    assert list(one_behind(str, [])) == []


@pytest.mark.parametrize("broken", [0, 2, 4])
def test_errors_of_both_sides_are_raised(broken: int) -> None:
    def fail_at(number: int) -> int:
        if number == broken:
            raise ValueError(f"item {number}")
        return number

    with pytest.raises(ValueError, match=f"item {broken}"):
        list(one_behind(fail_at, range(5)))
    with pytest.raises(ValueError, match=f"item {broken}"):
        list(one_behind(str, map(fail_at, range(5))))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("onnxplain-rows")]
