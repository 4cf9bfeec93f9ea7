from __future__ import annotations

from collections.abc import Callable

import pytest

from onnxplain.runtime import Engine
from onnxplain.runtime.sessions.batch_size import BatchSizeSearch, open_search, search_batch_size
from tests.position_model import open_position_model

SIZES = (1, 2, 4, 8, 16)


def search(seconds: Callable[[int, int], float], sizes: tuple[int, ...] = SIZES, runs: int = 100) -> list[int]:
    """The sizes that a search took one after the other, where run number i of n images takes ``seconds(n, i)``."""
    sought, taken = BatchSizeSearch(sizes), []
    for number in range(runs):
        taken.append(sought.size)
        sought.record(taken[-1], seconds(taken[-1], number))
    return taken


@pytest.mark.parametrize(
    ("milliseconds", "best", "tried"),
    [
        pytest.param(lambda n: n, 1, 4, id="no gain"),
        pytest.param(lambda n: n + 1, 16, 16, id="a fixed cost per run"),
        pytest.param(lambda n: max(n, 4), 4, 16, id="flat up to 4"),
        pytest.param(lambda n: n * (1.5 if n == 2 else 1 - 0.01 * n), 16, 16, id="a loss at 2"),
        pytest.param(lambda n: n * (1.5 if n < 16 else 1) * (1.1 if n in (2, 4) else 1), 1, 4, id="two losses end it"),
        pytest.param(lambda n: n * (1 - 0.001 * n), 1, 4, id="a gain too small for its memory"),
    ],
)
def test_the_least_time_per_image(milliseconds, best, tried) -> None:
    taken = search(lambda size, _: milliseconds(size))
    assert taken[-1] == best
    assert max(taken) == tried


def test_a_machine_that_slows_down_meets_both_sizes() -> None:
    """Ten times slower after a while: a size tried only later would look ten times as slow."""
    for slow_from in range(1, 40):
        taken = search(lambda size, number, start=slow_from: (size + 1) * (10 if number >= start else 1))
        assert taken[-1] == 16, slow_from


def test_two_sizes_take_turns_and_nothing_else_is_taken() -> None:
    taken = search(lambda size, _: size, runs=12)
    assert taken == [1, 2] * 6


def test_what_was_not_asked_for_is_ignored() -> None:
    """The last batch of an image may be smaller than asked for."""
    sought = BatchSizeSearch((4, 8))
    for _ in range(100):
        sought.record(3, 1e-9)
    assert sought.size == 4


def test_a_size_that_fails_ends_the_search_but_the_best_may_not_fail() -> None:
    sought = BatchSizeSearch(SIZES)
    while sought.size < 4:
        sought.record(sought.size, sought.size + 1)
    assert sought.give_up(4)
    for _ in range(50):
        assert sought.size == 2
        sought.record(2, 3)
    assert not sought.give_up(2)
    assert not BatchSizeSearch([5]).give_up(5)


def test_one_size_needs_no_search() -> None:
    assert set(search(lambda size, number: size * number, sizes=(5,))) == {5}


@pytest.mark.parametrize(("batch", "asked", "size"), [(3, None, 3), (3, 7, 3), ("N", 7, 7)])
def test_a_size_that_is_fixed(tmp_path, batch, asked, size) -> None:
    engine = open_position_model(tmp_path / "model.onnx", batch=batch)
    sought = search_batch_size(engine, asked)
    sought.record(size, 1.0)
    assert sought.size == size


def test_an_engine_goes_on_with_its_search(tmp_path) -> None:
    engine = open_position_model(tmp_path / "model.onnx")
    assert search_batch_size(engine) is search_batch_size(engine)
    assert search_batch_size(engine) is not search_batch_size(Engine(engine.path))
    assert search_batch_size(engine, 4) is not search_batch_size(engine)


@pytest.mark.parametrize(("provider", "largest"), [("CPU", 16), ("CUDA", 64), ("Tensorrt", 64)])
def test_larger_sizes_are_tried_on_a_gpu(provider, largest) -> None:
    sought = open_search([f"{provider}ExecutionProvider"], fixed_batch=None)
    for _ in range(200):
        size = sought.size
        sought.record(size, size + 1)
    assert sought.size == largest
