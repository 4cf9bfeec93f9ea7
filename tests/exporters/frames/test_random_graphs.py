"""Random chains of operators that move positions: the frame and the dot agree, whatever stands behind what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.exporters.frames.dot_networks import Net, furthest_miss, parts_of

DOTS = 12
SIDES = st.sampled_from([40, 45, 48])


def _shape(net: Net) -> tuple[int, int]:
    """Height and width of the last value, by onnx's own inference."""
    model = net.finished_at(net.value)
    found = next(info for info in model.graph.output if info.name == net.value)
    height, width = (dim.dim_value for dim in found.type.tensor_type.shape.dim[2:])
    return height, width


@st.composite
def chains(draw: st.DrawFn) -> Net:
    """Two to five operators; maps keep at least eight positions a side, so that a dot has a place."""
    net = Net(size_hw=(draw(SIDES), draw(SIDES)))
    net.conv(pads=[1] * 4)
    kind = ""
    for _ in range(draw(st.integers(1, 4))):
        height, width = _shape(net)
        shrinks = min(height, width) >= 20
        kinds = ["conv", "pad", "resize", "up"] + ["stride", "crop", "pool", "step", "blocks"] * shrinks
        # ONNX Runtime 1.31 takes a Pad into the MaxPool behind it, and then refuses pads wider than the window.
        kind = draw(st.sampled_from([other for other in kinds if (kind, other) != ("pad", "pool")]))
        if kind == "conv":
            net.conv((draw(st.integers(1, 4)), 3), pads=[draw(st.integers(0, 2)) for _ in range(4)])
        elif kind == "stride":
            auto = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
            net.conv((3, draw(st.integers(2, 4))), strides=[2, 2], auto_pad=auto)
        elif kind == "pool":
            net.add("MaxPool", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=draw(st.integers(0, 1)))
        elif kind == "pad":
            net.add("Pad", net.ints(0, 0, *(draw(st.integers(0, 6)) for _ in "yx"), 0, 0, draw(st.integers(0, 6)), 0))
        elif kind == "crop":
            y, x = draw(st.integers(0, 6)), draw(st.integers(0, 6))
            net.add("Slice", net.ints(y, x), net.ints(height - 3, width - 1), net.ints(2, 3))
        elif kind == "step":
            # So that no pixel falls between the steps.
            net.conv(pads=[1] * 4)
            net.add("Slice", net.ints(draw(st.integers(0, 1)), 0), net.ints(999, 999), net.ints(2, 3), net.ints(2, 2))
        elif kind == "blocks":
            net.add("Slice", net.ints(0, 0), net.ints(height // 2 * 2, width // 2 * 2), net.ints(2, 3))
            net.add("SpaceToDepth", blocksize=2)
            net.channels *= 4
        else:
            low, high = (0.6, 1.0) if kind == "resize" and shrinks else (1.0, 2.0)
            factors = [draw(st.sampled_from([low, 1.25, high])) for _ in range(2)]
            mode = draw(st.sampled_from(["half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric"]))
            net.enlarged *= max(1.0, *factors)
            scales = net.constant(np.array([1, 1, *factors], np.float32))
            net.add("Resize", "", scales, mode="linear", coordinate_transformation_mode=mode)
    net.conv((1, 1))
    return net


def check(net: Net) -> None:
    last, model = net.value, net.model()
    anatomy = parts_of(model)
    assert [str(entry.end) for entry in anatomy.unplaced] == []
    (layer,) = [layer for layer in anatomy.layers if layer.name == last]
    # An enlarged map knows no more than the map before it did: one cell of that counts.
    assert furthest_miss(model, layer, net.size_hw, DOTS, seed=3, margin=14) <= net.enlarged


FORM = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}


@settings(max_examples=15, **FORM)
@given(chains())
def test_a_dot_shows_where_the_frame_says(net: Net) -> None:
    check(net)


@pytest.mark.networks
@settings(max_examples=600, **FORM)
@given(chains())
def test_many_dots_show_where_their_frames_say(net: Net) -> None:
    check(net)
