from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxplain.contract import Resize
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.geometry import Frame, bilinear_matrix, make_frame

RESIZES: tuple[Resize, ...] = get_args(Resize)


@pytest.mark.parametrize(
    ("image_hw", "input_hw", "resize", "scale_xy", "offset_xy"),
    [
        # Short side to 256 = 224 / 0.875, then the centre 224, as torchvision's Resize(256), CenterCrop(224).
        ((512, 512), (224, 224), "crop", (0.5, 0.5), (-16, -16)),
        ((512, 1024), (224, 224), "crop", (0.5, 0.5), (-144, -16)),
        ((1024, 512), (224, 224), "crop", (0.5, 0.5), (-16, -144)),
        # An input that is not square: both sides must reach input / 0.875; here the width decides.
        ((400, 256), (112, 224), "crop", (1, 1), (-16, -144)),
        ((100, 50), (224, 224), "stretch", (4.48, 2.24), (0, 0)),
        ((100, 50), (200, 200), "letterbox", (2, 2), (50, 0)),
        ((50, 100), (200, 200), "letterbox", (2, 2), (0, 50)),
        ((1, 1000), (100, 100), "letterbox", (0.1, 1), (0, 49)),
        ((100, 50), (200, 200), "letterbox-corner", (2, 2), (0, 0)),
        ((1, 1000), (100, 100), "letterbox-corner", (0.1, 1), (0, 0)),
        ((1, 1), (224, 224), "crop", (256, 256), (-16, -16)),
    ],
)
def test_frame_by_hand(image_hw, input_hw, resize, scale_xy, offset_xy):
    frame = make_frame(image_hw, input_hw, resize)
    assert frame.scale_xy == pytest.approx(scale_xy)
    assert frame.offset_xy == offset_xy


@pytest.mark.parametrize(
    ("image_hw", "resized_hw", "corner_yx"),
    [
        # 277.05 and 26.5; 279.3 and 27.5; 341.3; 344.7; 263.4 and 19.5: what Resize(256) and CenterCrop(224) answer.
        ((487, 450), (277, 256), (26, 16)),
        ((450, 491), (256, 279), (16, 28)),
        ((300, 400), (256, 341), (16, 58)),
        ((300, 404), (256, 344), (16, 60)),
        ((463, 450), (263, 256), (20, 16)),
    ],
)
def test_crops_take_the_pixels_that_torchvision_takes(image_hw, resized_hw, corner_yx):
    frame = make_frame(image_hw, (224, 224), "crop")
    scaled = [side * scale for side, scale in zip(image_hw, frame.scale_xy[::-1], strict=True)]
    assert scaled == pytest.approx(resized_hw)
    assert frame.offset_xy == (-corner_yx[1], -corner_yx[0])


@pytest.mark.parametrize(
    ("image_hw", "input_side", "share", "resized_hw"),
    [
        # floor(224 / 0.9) = 248, and int(248 · 400 / 300) = 330, as timm's crop_pct and transformers' ConvNeXT.
        ((300, 400), 224, 0.9, (248, 330)),
        ((300, 400), 224, 1.0, (224, 298)),
        ((300, 400), 100, 0.875, (114, 152)),
        # A share that is crop size / short side gives the short side back.
        ((300, 400), 224, 224 / 235, (235, 313)),
    ],
)
def test_shares_of_a_crop(image_hw, input_side, share, resized_hw):
    frame = make_frame(image_hw, (input_side, input_side), "crop", share)
    scaled = [side * scale for side, scale in zip(image_hw, frame.scale_xy[::-1], strict=True)]
    assert scaled == pytest.approx(resized_hw)


@pytest.mark.parametrize(
    ("image_hw", "resize", "visible"),
    [
        ((512, 1024), "crop", (288, 32, 736, 480)),
        ((512, 1024), "stretch", (0, 0, 1024, 512)),
        ((513, 1021), "letterbox", (0, 0, 1021, 513)),
        ((513, 1021), "letterbox-corner", (0, 0, 1021, 513)),
    ],
)
def test_visible_part(image_hw, resize, visible):
    assert make_frame(image_hw, (224, 224), resize).visible_xyxy == visible


SIDES = st.integers(1, 3000)


@settings(deadline=None, max_examples=200)
@given(height=SIDES, width=SIDES, input_hw=st.tuples(st.integers(8, 640), st.integers(8, 640)))
@pytest.mark.parametrize("resize", RESIZES)
def test_frame_properties(resize, height, width, input_hw):
    frame = make_frame((height, width), input_hw, resize)
    x1, y1, x2, y2 = frame.visible_xyxy
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    if resize != "crop":
        assert (x1, y1, x2, y2) == (0, 0, width, height)
    # The visible part lies inside the input and fills at least one axis of it.
    left, top, right, bottom = frame.boxes_to_input([frame.visible_xyxy])[0]
    assert min(left, top) >= -1e-3
    assert right <= input_hw[1] + 1e-3
    assert bottom <= input_hw[0] + 1e-3
    assert max((right - left) / input_hw[1], (bottom - top) / input_hw[0]) == pytest.approx(1, abs=1e-4)
    box = [[x1, y1, (x1 + x2) / 2, y2]]
    np.testing.assert_allclose(frame.boxes_to_image(frame.boxes_to_input(box)), box, rtol=1e-4, atol=1e-2)


def test_boxes_are_clipped_to_the_image():
    frame = make_frame((100, 50), (200, 200), "letterbox")
    boxes = frame.boxes_to_image([[-10, -10, 300, 300], [60, 10, 70, 20]])
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 50, 100], [5, 5, 10, 10]]


@pytest.mark.parametrize(
    ("out_size", "in_size", "scale", "offset"),
    [
        (224, 7, 7 / 224, 0),
        (10, 14, 1.4, 0),
        (9, 4, 0.3, 0.7),
        (20, 5, 0.5, -3.0),
        (6, 1, 0.2, 0),
        (1, 3, 2, 0),
    ],
)
def test_bilinear_matrix_against_interpolation(out_size, in_size, scale, offset):
    signal = np.random.default_rng(0).normal(size=in_size)
    expected = np.interp(scale * (np.arange(out_size) + 0.5) + offset, np.arange(in_size) + 0.5, signal)
    matrix = bilinear_matrix(out_size, in_size, scale, offset)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix @ signal, expected, atol=1e-5)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("image_hw", [(48, 100), (100, 48), (3, 3), (200, 1)])
@pytest.mark.parametrize("map_hw", [(7, 5), (1, 1), (32, 24)])
def test_map_to_image_against_interpolation(resize, image_hw, map_hw):
    map_values = np.random.default_rng(1).random(map_hw).astype(np.float32) + 1
    frame = make_frame(image_hw, (64, 96), resize)
    placed = frame.map_to_image(map_values)
    assert placed.shape == image_hw
    assert placed.dtype == np.float32

    # The other way round: from each pixel's centre to the cell of the map, axis by axis.
    axes = []
    for axis in (0, 1):
        centres = np.arange(image_hw[axis]) + 0.5
        in_input = frame.scale_xy[1 - axis] * centres + frame.offset_xy[1 - axis]
        cells = in_input * map_hw[axis] / frame.input_size_hw[axis]
        identity = np.eye(map_hw[axis])
        axes.append(np.stack([np.interp(cells, np.arange(map_hw[axis]) + 0.5, row) for row in identity]))
    expected = np.einsum("iy,ij,jx->yx", axes[0], map_values, axes[1])
    x1, y1, x2, y2 = frame.visible_xyxy
    ys, xs = np.mgrid[: image_hw[0], : image_hw[1]]
    seen = (xs + 1 > x1) & (xs < x2) & (ys + 1 > y1) & (ys < y2)
    np.testing.assert_allclose(placed, np.where(seen, expected, 0), atol=1e-5)
    assert seen.any()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("image_hw", [(48, 100), (100, 48), (9, 7), (640, 96)])
def test_map_to_input_is_the_mean_of_the_part_of_the_image_under_each_pixel(resize, image_hw):
    image_map = np.random.default_rng(2).random(image_hw).astype(np.float32)
    frame = make_frame(image_hw, (16, 24), resize)
    found = frame.map_to_input(image_map)
    assert (found.shape, found.dtype) == ((16, 24), np.float32)

    # Many points inside each pixel of the input, looked up in the image; 0 outside of it.
    points, positions, inside = 100, [], []
    for axis in (0, 1):
        in_input = (np.arange(frame.input_size_hw[axis] * points) + 0.5) / points
        in_image = (in_input - frame.offset_xy[1 - axis]) / frame.scale_xy[1 - axis]
        inside.append((in_image >= 0) & (in_image < image_hw[axis]))
        positions.append(np.clip(in_image, 0, image_hw[axis] - 1).astype(int))
    looked_up = image_map[np.ix_(*positions)] * np.outer(*inside)
    expected = looked_up.reshape(16, points, 24, points).mean(axis=(1, 3))
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert found.mean() == pytest.approx(expected.mean(), abs=1e-3)


def test_map_to_input_keeps_what_stands_on_the_same_pixels():
    heat = np.random.default_rng(3).random((16, 24)).astype(np.float32)
    np.testing.assert_array_equal(make_frame((16, 24), (16, 24), "stretch").map_to_input(heat), heat)
    bordered = make_frame((16, 24), (24, 24), "letterbox").map_to_input(heat)
    np.testing.assert_array_equal(bordered, np.pad(heat, [(4, 4), (0, 0)]))
    smooth = make_frame((300, 401), (16, 24), "stretch")
    np.testing.assert_allclose(
        smooth.map_to_input(smooth.map_to_image(heat[:4, :6])).mean(), heat[:4, :6].mean(), atol=1e-3
    )


def test_bad_frames_are_refused():
    with pytest.raises(OnnxplainError, match="expected sizes > 0"):
        Frame((0, 5), (8, 8), (1, 1), (0, 0))
    with pytest.raises(OnnxplainError, match="expected two positive numbers"):
        Frame((5, 5), (8, 8), (1, float("nan")), (0, 0))
    frame = make_frame((5, 5), (8, 8), "stretch")
    with pytest.raises(OnnxplainError, match=r"expected \(M, 4\)"):
        frame.boxes_to_image([1, 2, 3, 4])
    with pytest.raises(OnnxplainError, match=r"expected \(h, w\)"):
        frame.map_to_image(np.zeros((1, 2, 3), np.float32))
    with pytest.raises(OnnxplainError, match=r"expected the image size \(5, 5\)"):
        frame.map_to_input(np.zeros((8, 8), np.float32))
