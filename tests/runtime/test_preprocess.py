from __future__ import annotations

import numpy as np
import pytest

from onnxplain.contract import GRAY_PRESETS, LETTERBOX_GREY, PRESETS, Preprocessing
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.geometry import Frame, make_frame
from onnxplain.runtime.preprocess import normalise, to_model, warp_image

RESIZES = ("crop", "stretch", "letterbox", "letterbox-corner")


def draw_box(image_hw: tuple[int, int], box_xyxy: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((*image_hw, 3), np.uint8)
    x1, y1, x2, y2 = box_xyxy
    image[y1:y2, x1:x2] = 255
    return image


def edges(profile: np.ndarray) -> tuple[float, float]:
    """Start and stop of a white stretch on black, to a fraction of a pixel, from its mass and centre."""
    weights = profile / 255
    length = weights.sum()
    centre = (weights * (np.arange(len(profile)) + 0.5)).sum() / length
    return centre - length / 2, centre + length / 2


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(
    ("image_hw", "box"),
    [
        ((1080, 1920), (701, 333, 1208, 811)),
        ((480, 640), (200, 101, 333, 400)),
        ((97, 61), (17, 30, 44, 66)),
        ((30, 40), (15, 10, 27, 20)),
        ((500, 60), (20, 240, 41, 258)),
        ((60, 500), (230, 20, 270, 41)),
    ],
)
def test_a_drawn_box_lands_where_the_frame_says(resize, image_hw, box):
    frame = make_frame(image_hw, (160, 224), resize)
    warped = warp_image(draw_box(image_hw, box), frame, border=0)
    assert warped.shape == (160, 224, 3)
    assert warped.dtype == np.uint8
    expected = frame.boxes_to_input([box])[0]
    grey = warped[..., 0].astype(np.float64)
    x1, x2 = edges(grey[round(float(expected[1] + expected[3]) / 2)])
    y1, y2 = edges(grey[:, round(float(expected[0] + expected[2]) / 2)])
    np.testing.assert_allclose([x1, y1, x2, y2], expected, atol=0.06)
    scale_x, scale_y = frame.scale_xy
    back = frame.boxes_to_image([[x1, y1, x2, y2]])[0]
    np.testing.assert_allclose(back, box, atol=0.06 / min(scale_x, scale_y))


def test_a_frame_off_the_pixel_grid_is_sampled_exactly():
    ramp = np.ascontiguousarray(np.broadcast_to((np.arange(100) * 2)[None, :, None], (60, 100, 3)), np.uint8)
    frame = Frame((60, 100), (40, 50), (1.3, 1.7), (-20.4, -7.25))
    warped = warp_image(ramp, frame)
    x_image = (np.arange(50) + 0.5 + 20.4) / 1.3
    np.testing.assert_allclose(warped[20, :, 1], 2 * (x_image - 0.5), atol=0.51)


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 100), (100, 1), (1, 30_000), (30_000, 1), (2, 9_999)])
@pytest.mark.parametrize("resize", RESIZES)
def test_elongated_images(resize, image_hw):
    image = np.full((*image_hw, 3), 200, np.uint8)
    frame = make_frame(image_hw, (64, 96), resize)
    warped = warp_image(image, frame)
    x1, y1, x2, y2 = np.round(frame.boxes_to_input([frame.visible_xyxy])[0]).astype(int)
    assert (warped[y1:y2, x1:x2] == 200).all()
    outside = np.ones((64, 96), bool)
    outside[y1:y2, x1:x2] = False
    assert (warped[outside] == LETTERBOX_GREY).all()
    assert outside.any() == resize.startswith("letterbox")


def test_an_elongated_image_shows_its_middle():
    image = np.zeros((1, 20_001, 3), np.uint8)
    image[:, 10_000] = 255
    frame = make_frame((1, 20_001), (64, 64), "crop")
    warped = warp_image(image, frame)
    assert warped[32, 32, 0] > 240
    assert (warped[:, :, 0].argmax(axis=1) == warped[0, :, 0].argmax()).all()


def test_shrinking_averages_areas():
    noise = np.random.default_rng(0).integers(0, 256, (192, 144, 3), np.uint8)
    warped = warp_image(noise, make_frame((192, 144), (64, 48), "stretch"))
    means = noise.reshape(64, 3, 48, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(warped, means, atol=1)


def test_shrinking_by_a_large_factor_averages_areas_too():
    ys, xs = np.mgrid[:640, :480]
    waves = np.dstack([np.sin(xs / 40), np.cos(ys / 60), np.sin((xs + ys) / 50)])
    image = np.rint(127.5 + 127 * waves).astype(np.uint8)
    image[::2, ::2] ^= 1  # and a pattern that point sampling would see
    warped = warp_image(image, make_frame((640, 480), (64, 48), "stretch"))
    means = image.reshape(64, 10, 48, 10, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(warped, means, atol=2)


def test_shrinking_one_axis_while_the_other_grows_still_averages():
    noise = np.random.default_rng(0).integers(0, 256, (8, 960, 3), np.uint8)
    warped = warp_image(noise, make_frame((8, 960), (8 * 5, 96), "stretch"))
    means = noise.reshape(8, 96, 10, 3).mean(axis=2)
    np.testing.assert_allclose(warped[2::5], means, atol=1.5)


def test_warp_refuses_an_image_of_another_size():
    with pytest.raises(OnnxplainError, match=r"found an image of \(.*\), expected \(.*\): make another frame"):
        warp_image(np.zeros((5, 6, 3), np.uint8), make_frame((6, 5), (8, 8), "crop"))


PIXEL = np.array([200, 100, 50], np.uint8)


BY_HAND = [
    (PRESETS["imagenet"], [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (50 / 255 - 0.406) / 0.225]),
    (PRESETS["caffe"], [50 - 104, 100 - 117, 200 - 123]),
    (PRESETS["inception"], [200 / 127.5 - 1, 100 / 127.5 - 1, 50 / 127.5 - 1]),
    (PRESETS["unit"], [200 / 255, 100 / 255, 50 / 255]),
    (GRAY_PRESETS["unit"], [124 / 255]),
    (PRESETS["raw"], [200, 100, 50]),
    (GRAY_PRESETS["raw"], [124]),  # 0.299 · 200 + 0.587 · 100 + 0.114 · 50 = 124.2
    (GRAY_PRESETS["imagenet"], [(124 / 255 - 0.449) / 0.226]),
    (GRAY_PRESETS["inception"], [124 / 127.5 - 1]),
    (Preprocessing("bgr", 0.5, (1, 2, 3), (4, 5, 6)), [(25 - 1) / 4, (50 - 2) / 5, (100 - 3) / 6]),
]


@pytest.mark.parametrize(("preprocessing", "expected"), BY_HAND)
def test_normalise_by_hand(preprocessing, expected):
    images = np.broadcast_to(PIXEL, (2, 4, 5, 3))
    batch = normalise(images, preprocessing)
    assert batch.dtype == np.float32
    assert batch.shape == (2, len(expected), 4, 5)
    np.testing.assert_allclose(batch, np.broadcast_to(np.reshape(expected, (-1, 1, 1)), batch.shape), rtol=1e-5)


@pytest.mark.parametrize("images", [np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.float32)])
def test_normalise_refuses_other_arrays(images):
    with pytest.raises(OnnxplainError, match="expected uint8"):
        normalise(images, PRESETS["raw"])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.uint8])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_to_model_layout_and_type(layout, dtype):
    batch = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    fed = to_model(batch, layout, dtype)
    assert fed.dtype == dtype
    assert fed.flags.c_contiguous
    restored = fed if layout == "nchw" else np.moveaxis(fed, 3, 1)
    assert (restored == batch).all()


def test_to_model_rounds_and_clips_uint8():
    batch = np.array([-3, 0.4, 0.6, 254.7, 300, 17], np.float32).reshape(1, 1, 2, 3)
    assert to_model(batch, "nchw", np.uint8).ravel().tolist() == [0, 0, 1, 255, 255, 17]
