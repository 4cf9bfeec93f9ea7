"""Operators that end a frame: no layer behind them, and an error that names the operator and the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxplain.errors import ModelError
from onnxplain.exporters import instrument
from onnxplain.exporters.anatomy.positions import EndReason
from tests.exporters.frames.dot_networks import CHANNELS, Net, parts_of
from tests.exporters.onnx_models import save


def _swap(net: Net) -> str:
    first = net.add("Split", net.ints(20, 20), axis=3, outputs=2)
    return net.add("Concat", first, source=first.replace("_0", "_1"), axis=3)


def _roll(net: Net) -> str:
    whole = net.value
    tail = net.add("Slice", net.ints(5), net.ints(99), net.ints(2), source=whole)
    head = net.add("Slice", net.ints(0), net.ints(5), net.ints(2), source=whole)
    return net.add("Concat", head, source=tail, axis=2)


def _flip(net: Net) -> str:
    return net.add("Slice", net.ints(-1), net.ints(-(2**62)), net.ints(2), net.ints(-1))


def _permuted(net: Net) -> str:
    order = np.random.default_rng(0).permutation(40)
    return net.add("Gather", net.ints(*order.tolist()), axis=3)


def _sorted(net: Net) -> str:
    return net.add("TopK", net.ints(40), axis=3, outputs=2)


def _picked(net: Net) -> str:
    source = net.value
    best = net.add("ArgMax", axis=3, keepdims=0)
    net.add("Gather", net.ints(0), source=best, axis=0)
    rows = net.add("ReduceMax", net.ints(0, 1), keepdims=0)
    return net.add("Gather", rows, source=source, axis=2)


def _added_to_its_mirror(net: Net) -> str:
    source = net.value
    return net.add("Add", _flip(net), source=source)


def _tiled(net: Net) -> str:
    return net.add("Tile", net.ints(1, 1, 2, 1))


def _shift_by_many(net: Net) -> str:
    """Half of the channels lie nine pixels from the others."""
    source = net.value
    net.add("Pad", net.ints(0, 0, 9, 0, 0, 0, -9, 0))
    return net.add("Concat", source, axis=1)


ENDS: dict[str, tuple[Callable[[Net], str], EndReason, str]] = {
    "swapped halves": (_swap, EndReason.MOVED, "Concat"),
    "roll": (_roll, EndReason.MOVED, "Concat"),
    "flip": (_flip, EndReason.MOVED, "Slice"),
    "permutation": (_permuted, EndReason.MOVED, "Gather"),
    "TopK": (_sorted, EndReason.PICKED, "TopK"),
    "Gather by what was found": (_picked, EndReason.PICKED, "Gather"),
    "mirror": (_added_to_its_mirror, EndReason.DISAGREE, "Add"),
    "Tile": (_tiled, EndReason.MOVED, "Tile"),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("behind", ["Relu", "Conv"])
def test_no_layer_behind(name: str, behind: str) -> None:
    build, reason, operator = ENDS[name]
    net = Net()
    before = net.conv(pads=[1] * 4)
    build(net)
    last = net.add("Relu") if behind == "Relu" else net.conv(pads=[1] * 4)
    anatomy = parts_of(net.model())
    assert before in [layer.name for layer in anatomy.layers]
    assert last not in [layer.name for layer in anatomy.layers]
    if behind == "Relu" and name in ("Gather by what was found", "TopK"):
        return  # How the result holds maps is not known either.
    (end,) = [entry.end for entry in anatomy.unplaced if entry.name == last]
    assert (end.reason, end.node.split()[0]) == (reason, operator)


def test_maps_side_by_side_that_lie_apart_are_no_layer() -> None:
    net = Net()
    net.conv(pads=[1] * 4)
    _shift_by_many(net)
    net.channels = 2 * CHANNELS
    last = net.conv((1, 1))
    anatomy = parts_of(net.model())
    (end,) = [entry.end for entry in anatomy.unplaced if entry.name == last]
    assert end.reason is EndReason.DISAGREE


def test_asked_for_by_name_the_error_says_which_operator_and_why(tmp_path: Path) -> None:
    net = Net()
    net.conv(pads=[1] * 4)
    _swap(net)
    last = net.conv(pads=[1] * 4)
    source = save(net.model(), tmp_path / "plain.onnx")
    with pytest.raises(ModelError, match=f"'{last}'.*Concat .* changes the order of positions: choose an earlier"):
        instrument(source, tmp_path / "out.onnx", layers=[last])


def test_a_model_without_a_layer_says_why(tmp_path: Path) -> None:
    net = Net()
    _swap(net)
    net.conv(pads=[1] * 4)
    source = save(net.model(), tmp_path / "plain.onnx")
    with pytest.raises(ModelError, match=r"no feature map leads to the outputs: Concat .* changes the order"):
        instrument(source, tmp_path / "out.onnx")


def test_one_position_for_all_does_not_end_a_frame() -> None:
    """A gate that is made of sorted values, one number for the whole map."""
    net = Net()
    whole = net.conv(pads=[1] * 4)
    net.add("TopK", net.ints(1), axis=3, outputs=2)
    net.add("TopK", net.ints(1), axis=2, outputs=2)
    last = net.add("Mul", whole)
    assert last in [layer.name for layer in parts_of(net.model()).layers]
