"""Maps that reshapes take apart and put together again, against numpy doing the same."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain.exporters.anatomy.axes import MapForm, axes_of_map, form_of_axes, reshape_axes, transpose_axes

Step = tuple[int, ...]


def follow(form: MapForm, shape: Step, reshaped: Step, perm: Step, merged: Step) -> MapForm | None:
    axes = axes_of_map(form, shape)
    for step, argument in ((reshape_axes, reshaped), (transpose_axes, perm), (reshape_axes, merged)):
        axes = None if axes is None else step(axes, argument)
    return None if axes is None else form_of_axes(axes)


@pytest.mark.parametrize(
    ("form", "shape", "reshaped", "perm", "merged", "becomes"),
    [
        pytest.param(
            "nchw", (2, 6, 4, 3), (2, 2, 3, 4, 3), (0, 2, 1, 3, 4), (2, 6, 4, 3), "nchw", id="channel shuffle"
        ),
        pytest.param(
            "nhwc", (2, 4, 6, 5), (2, 2, 2, 3, 2, 5), (0, 1, 3, 4, 2, 5), (2, 2, 3, 20), "nhwc", id="patch merging"
        ),
        pytest.param(
            "nchw", (2, 5, 4, 6), (2, 5, 2, 2, 3, 2), (0, 1, 3, 5, 2, 4), (2, 20, 2, 3), "nchw", id="pixel unshuffle"
        ),
        pytest.param("nchw", (2, 5, 4, 1), (2, 5, 4), (0, 2, 1), (2, 4, 1, 5), None, id="an axis of size 1"),
        pytest.param("nhwc", (2, 4, 6, 5), (2, 2, 2, 3, 2, 5), (0, 1, 3, 2, 4, 5), (12, 2, 2, 5), None, id="windows"),
        pytest.param(
            "nhwc", (2, 4, 6, 5), (2, 2, 2, 3, 2, 5), (0, 2, 4, 1, 3, 5), (2, 2, 2, 30), None, id="inner parts as map"
        ),
        pytest.param("nchw", (2, 6, 4, 3), (2, 6, 12), (0, 2, 1), (2, 3, 4, 6), None, id="height and width swapped"),
        pytest.param("nchw", (2, 6, 4, 3), (2, 3, 8, 3), (0, 1, 2, 3), (2, 3, 8, 3), None, id="channels in the height"),
    ],
)
def test_form(form: MapForm, shape: Step, reshaped: Step, perm: Step, merged: Step, becomes: MapForm | None) -> None:
    assert follow(form, shape, reshaped, perm, merged) == becomes
    if becomes is None:
        return
    # Every position's row (and column) number, spread over the map, is in order in the result.
    for letter in "hw":
        axis, result_axis = form.index(letter), becomes.index(letter)
        numbers = np.broadcast_to(np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(4)]), shape)
        result = np.moveaxis(numbers.reshape(reshaped).transpose(perm).reshape(merged), result_axis, 0)
        lowest = result.reshape(len(result), -1).min(1)
        np.testing.assert_array_equal(lowest, np.arange(len(result)) * (shape[axis] // len(result)))


def test_symbolic_sizes_are_not_followed() -> None:
    assert axes_of_map("nchw", ("N", 3, "h", 4)) is None
    axes = axes_of_map("nchw", ("N", 6, 4, 3))
    assert axes is not None
    assert reshape_axes(axes, ("N", "c", 4, 3)) is None
    assert transpose_axes(axes, (1, 0, 2, 3)) is None
