from __future__ import annotations

import numpy as np
import pytest

from onnxplain.runtime.sessions.batches import Batches, fill_up


@pytest.mark.parametrize(
    ("fixed", "most", "count", "taken"),
    [
        (None, 4, 3, [3]),
        (None, 4, 8, [4, 4]),
        (None, 4, 9, [4, 4, 1]),
        (3, 8, 3, [3]),
        (3, 8, 7, [3, 3, 3]),
        (5, 2, 1, [5]),
        (1, 8, 2, [1, 1]),
    ],
)
def test_every_row_is_computed_once_and_what_fills_a_batch_is_dropped(fixed, most, count, taken) -> None:
    rows, others = np.arange(2 * count).reshape(count, 2), np.arange(count) * 10
    seen: list[int] = []

    def compute(part: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
        seen.append(len(part))
        assert len(other) == len(part)
        return [part + 1, part[:, 0] + other]

    batches = Batches(fixed, most)
    first, second = batches.run(compute, rows, others)
    np.testing.assert_array_equal(first, rows + 1)
    np.testing.assert_array_equal(second, rows[:, 0] + others)
    assert seen == taken
    assert batches.size == max(taken) or count < batches.size


def test_an_output_without_rows_stays_without_rows() -> None:
    """A gradient behind a closed gate."""
    (empty,) = Batches(None, 2).run(lambda part: [np.zeros((0, 3))], np.zeros((5, 1)))
    assert empty.shape == (0, 3)


@pytest.mark.parametrize(("size", "expected"), [(1, [1, 2, 3]), (2, [1, 2, 3, 3]), (5, [1, 2, 3, 3, 3])])
def test_the_last_row_fills_a_batch(size, expected) -> None:
    np.testing.assert_array_equal(fill_up(np.array([1, 2, 3], np.uint8), size), np.array(expected, np.uint8))
