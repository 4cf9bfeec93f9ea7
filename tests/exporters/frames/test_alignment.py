"""A bright dot shows where the frame of the map says: one small network per operator that moves positions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.exporters.frames.dot_networks import CHANNELS, Net, furthest_miss, parts_of

DOTS = 50
Build = Callable[[Net], object]


def _conv(**attributes: object) -> Build:
    kernel = attributes.pop("kernel", (3, 3))
    return lambda net: net.conv(kernel, **attributes)


def _pool(operator: str = "MaxPool", **attributes: object) -> Build:
    return lambda net: (net.conv((1, 1)), net.add(operator, **attributes))


def _resize(mode: str, scale: tuple[float, float], kind: str = "linear", nearest: str = "floor") -> Build:
    def build(net: Net) -> None:
        net.conv(pads=[1] * 4)
        rounding = {"nearest_mode": nearest} if kind == "nearest" else {}
        scales = net.constant(np.array([1, 1, *scale], np.float32))
        net.add("Resize", "", scales, mode=kind, coordinate_transformation_mode=mode, **rounding)
        net.conv((1, 1))

    return build


def _resize_to(size_hw: tuple[int, int], mode: str = "half_pixel", **attributes: object) -> Build:
    def build(net: Net) -> None:
        net.conv(pads=[1] * 4)
        net.add(
            "Resize",
            "",
            "",
            net.ints(*size_hw),
            axes=[2, 3],
            mode="linear",
            coordinate_transformation_mode=mode,
            **attributes,
        )

    return build


def _crop_and_resize(net: Net) -> None:
    net.conv(pads=[1] * 4)
    region = net.constant(np.array([0, 0, 0.25, 0.1, 1, 1, 0.75, 0.8], np.float32))
    scales = net.constant(np.array([1, 1, 0.5, 0.75], np.float32))
    net.add("Resize", region, scales, mode="linear", coordinate_transformation_mode="tf_crop_and_resize")


def _transposed(**attributes: object) -> Build:
    def build(net: Net) -> None:
        net.conv((2, 2), strides=[2, 2])
        kernel = attributes.pop("kernel", (2, 2)) if "kernel" in attributes else (2, 2)
        weights = np.ones((CHANNELS, CHANNELS, *kernel), np.float32)
        net.add("ConvTranspose", net.constant(weights), **attributes)

    return build


def _crop(net: Net) -> None:
    net.add("Slice", net.ints(8, 11), net.ints(40, 33), net.ints(2, 3))
    net.conv(pads=[1] * 4)


def _crop_of_features(net: Net) -> None:
    net.conv(pads=[1] * 4, strides=[2, 2])
    net.add("Slice", net.ints(5, 0), net.ints(20, -7), net.ints(2, 3))


def _pad(mode: str) -> Build:
    def build(net: Net) -> None:
        net.conv(pads=[1] * 4)
        net.add("Pad", net.ints(0, 0, 9, 3, 0, 0, 1, 14), mode=mode)
        net.conv()

    return build


def _padded_at_its_end(net: Net) -> None:
    net.conv(pads=[1] * 4)
    net.conv((1, 3), pads=[0, 1, 1, 1])
    net.add("Pad", net.ints(0, 0, 1, 1, 0, 0, 1, 1))
    net.conv((1, 1))


def _space_to_depth(net: Net) -> None:
    net.add("SpaceToDepth", blocksize=4)
    net.channels *= 16
    net.conv((1, 1))


def _depth_to_space(net: Net) -> None:
    net.conv((2, 2), strides=[2, 2], channels=16)
    net.add("DepthToSpace", blocksize=2)
    net.channels = 4
    net.conv((1, 1))


def _focus(net: Net) -> None:
    """Four strided slices side by side, as in YOLOv5's stem and between the stages of Swin."""
    parts = []
    for y, x in ((0, 0), (1, 0), (0, 1), (1, 1)):
        parts.append(net.add("Slice", net.ints(y, x), net.ints(99, 99), net.ints(2, 3), net.ints(2, 2), source="image"))
    net.add("Concat", *parts[1:], source=parts[0], axis=1)
    net.channels = 12
    net.conv((1, 1))


def _halves_in_order(net: Net) -> None:
    net.conv(pads=[1] * 4)
    first = net.add("Split", net.ints(13, 27), axis=3, outputs=2)
    second = first.replace("_0", "_1")
    net.add("Concat", second, source=first, axis=3)


def _roll_there_and_back(net: Net) -> None:
    net.conv(pads=[1] * 4)
    for at in (7, 33):
        first = net.add("Split", net.ints(at, 40 - at), axis=3, outputs=2)
        net.add("Concat", first, source=first.replace("_0", "_1"), axis=3)


def _squeeze_and_excite(net: Net) -> None:
    whole = net.conv(pads=[1] * 4, strides=[2, 2])
    pooled = net.add("GlobalAveragePool")
    net.conv((1, 1))
    gate = net.add("Sigmoid")
    assert pooled
    net.add("Mul", gate, source=whole)


def _shortcut(net: Net) -> None:
    """A strided convolution and the average pool of a ResNet-D: half a pixel apart."""
    whole = net.conv((1, 1))
    left = net.conv(pads=[1] * 4, strides=[2, 2])
    right = net.add("AveragePool", source=whole, kernel_shape=[2, 2], strides=[2, 2])
    net.add("Add", left, source=right)


def _pyramid(net: Net) -> None:
    """A coarse map enlarged and added to a fine one."""
    fine = net.conv(pads=[1] * 4, strides=[2, 2])
    net.conv(pads=[1] * 4, strides=[2, 2])
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    coarse = net.add(
        "Resize", "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    net.add("Add", coarse, source=fine)


def _unfolded_patches(net: Net) -> None:
    """Patches of 8 × 8 by Reshape and Transpose, tokens times a weight, back to a map."""
    net.add("Reshape", net.ints(-1, 3, 6, 8, 5, 8))
    net.add("Transpose", perm=[0, 2, 4, 1, 3, 5])
    net.add("Reshape", net.ints(0, 30, 192))
    net.add("MatMul", net.constant(np.ones((192, CHANNELS), np.float32)))
    net.add("Transpose", perm=[0, 2, 1])
    net.add("Reshape", net.ints(0, CHANNELS, 6, 5))
    net.channels = CHANNELS


def _rows_of_a_product(net: Net) -> None:
    """Channels last, all positions of the batch as rows of one Gemm, as optimisers write it."""
    net.conv((4, 4), strides=[4, 4])
    net.add("Transpose", perm=[0, 2, 3, 1])
    net.add("Reshape", net.ints(-1, CHANNELS))
    net.add("Gemm", net.constant(np.ones((CHANNELS, CHANNELS), np.float32)))
    net.add("Reshape", net.ints(-1, 12, 10, CHANNELS))
    net.add("Transpose", perm=[0, 3, 1, 2])


def _flip_twice(net: Net) -> None:
    net.conv(pads=[1] * 4)
    for _ in range(2):
        net.add("Slice", net.ints(-1), net.ints(-(2**62)), net.ints(3), net.ints(-1))


NETWORKS: dict[str, Build] = {
    "conv": _conv(pads=[1] * 4),
    "stride": _conv(pads=[1] * 4, strides=[2, 3]),
    "wide stem": _conv(kernel=(7, 7), pads=[3] * 4, strides=[2, 2]),
    "even kernel": _conv(kernel=(4, 2), strides=[2, 2]),
    "asymmetric pads": _conv(kernel=(5, 5), pads=[0, 4, 4, 0]),
    "window of one, padded at its end": _padded_at_its_end,
    "dilation": _conv(dilations=[3, 2], pads=[3, 2, 3, 2]),
    "VALID": _conv(auto_pad="VALID", kernel=(5, 5), strides=[2, 2]),
    "SAME_UPPER": _conv(auto_pad="SAME_UPPER", kernel=(4, 3), strides=[2, 2]),
    "SAME_LOWER": _conv(auto_pad="SAME_LOWER", kernel=(4, 3), strides=[2, 2]),
    "max pool": _pool(kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    "ceil_mode": _pool(kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1),
    "average pool": _pool("AveragePool", kernel_shape=[4, 4], strides=[4, 4]),
    "Lp pool": _pool("LpPool", kernel_shape=[2, 2], strides=[2, 2]),
    "ConvTranspose": _transposed(strides=[2, 2]),
    "ConvTranspose pads": _transposed(kernel=(4, 4), strides=[2, 2], pads=[1] * 4),
    "ConvTranspose SAME": _transposed(kernel=(3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    "crop": _crop,
    "crop of features": _crop_of_features,
    **{f"pad {mode}": _pad(mode) for mode in ("constant", "reflect", "edge")},
    **{f"{mode} up": _resize(mode, (2.0, 1.5)) for mode in ("half_pixel", "asymmetric", "align_corners")},
    **{f"{mode} down": _resize(mode, (0.5, 0.7)) for mode in ("pytorch_half_pixel", "half_pixel_symmetric")},
    **{f"nearest {each}": _resize("half_pixel", (2.0, 2.0), "nearest", each) for each in ("floor", "ceil")},
    "nearest asymmetric": _resize("asymmetric", (2.0, 3.0), "nearest", "floor"),
    "nearest rounded": _resize("half_pixel", (0.5, 1.5), "nearest", "round_prefer_floor"),
    "cubic": _resize("half_pixel", (2.0, 2.0), "cubic"),
    "sizes": _resize_to((30, 60)),
    "not larger": _resize_to((30, 60), keep_aspect_ratio_policy="not_larger"),
    "tf_crop_and_resize": _crop_and_resize,
    "SpaceToDepth": _space_to_depth,
    "DepthToSpace": _depth_to_space,
    "slices side by side": _focus,
    "halves in order": _halves_in_order,
    "roll there and back": _roll_there_and_back,
    "squeeze and excite": _squeeze_and_excite,
    "shortcut": _shortcut,
    "pyramid": _pyramid,
    "patches": _unfolded_patches,
    "rows of a Gemm": _rows_of_a_product,
    "flipped twice": _flip_twice,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_dot_shows_where_the_frame_says(name: str) -> None:
    net = Net()
    NETWORKS[name](net)
    last = net.value
    model = net.model()
    anatomy = parts_of(model)
    assert [str(entry.end) for entry in anatomy.unplaced if entry.name == last] == []
    (layer,) = [layer for layer in anatomy.layers if layer.name == last]
    # What lies near a border is there several times after these.
    margin = 15 if name in ("pad reflect", "pad edge") else 0
    assert furthest_miss(model, layer, net.size_hw, DOTS, seed=1, margin=margin) <= 1


def test_channels_last() -> None:
    net = Net(layout="nhwc")
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.conv(auto_pad="SAME_UPPER", strides=[2, 2])
    last, model = net.value, net.model()
    (layer,) = [layer for layer in parts_of(model).layers if layer.name == last]
    assert furthest_miss(model, layer, net.size_hw, DOTS, seed=2) <= 1
