from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

from onnxplain.errors import OnnxplainError
from onnxplain.training.augmentation import Augmentation, PhotoView

SIZE_HW = (96, 128)
BOX = np.array([30, 20, 90, 70], np.float32)


def masked_image() -> np.ndarray:
    """White where the box is, black elsewhere."""
    image_hwc = np.zeros((*SIZE_HW, 3), np.uint8)
    image_hwc[20:70, 30:90] = 255
    return image_hwc


def box_of(mask_hw: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("seed", range(40))
def test_the_box_moves_with_the_image(seed: int) -> None:
    """The box of the warped mask is the moved box, to the pixel."""
    view = Augmentation(zoom=(0.5, 2.5), visible=0.3).draw_view(np.random.default_rng(seed), SIZE_HW, BOX)
    mask_hw = view.move_image(masked_image())[:, :, 0] > 127

    np.testing.assert_allclose(view.move_box(BOX, SIZE_HW), box_of(mask_hw), atol=1.0)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (PhotoView(), [30, 20, 90, 70]),
        (PhotoView(mirrored=True), [38, 20, 98, 70]),
        (PhotoView((2.0, 1.0), (-40.0, 5.0)), [20, 25, 128, 75]),
        (PhotoView((2.0, 1.0), (-40.0, 5.0), mirrored=True), [0, 25, 108, 75]),
        (PhotoView((0.5, 0.5), (0.0, 48.0)), [15, 58, 45, 83]),
    ],
)
def test_boxes_by_hand(view: PhotoView, expected: list[int]) -> None:
    assert view.move_box(BOX, SIZE_HW).tolist() == expected


def test_a_view_of_everything_changes_no_pixel() -> None:
    image_hwc = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), np.uint8)

    np.testing.assert_array_equal(PhotoView().move_image(image_hwc), image_hwc)
    np.testing.assert_array_equal(PhotoView(mirrored=True).move_image(image_hwc), image_hwc[:, ::-1])
    shifted = PhotoView(offset_xy=(3.0, -2.0)).move_image(image_hwc)
    np.testing.assert_array_equal(shifted[:-2, 3:], image_hwc[2:, :-3])
    assert (shifted[-2:] == 114).all()


@pytest.mark.parametrize("box", [BOX, np.array([0, 0, 128, 96], np.float32), np.array([120, 90, 128, 96], np.float32)])
def test_views_keep_the_object_in_sight(box: np.ndarray) -> None:
    augmentation, rng = Augmentation(zoom=(0.5, 4.0), visible=0.7), np.random.default_rng(1)
    scales = []
    for _ in range(200):
        view = augmentation.draw_view(rng, SIZE_HW, box)
        kept = view.move_box(box, SIZE_HW)
        share = np.prod(kept[2:] - kept[:2]) / (np.prod(box[2:] - box[:2]) * np.prod(view.scale_xy))
        assert share >= 0.7 - 1e-5
        scales.append(view.scale_xy[0])
    assert len(set(scales)) > 20


def test_views_reach_both_ends_of_their_ranges_and_both_sides() -> None:
    augmentation, rng = Augmentation(zoom=(0.5, 2.0), aspect=1.0), np.random.default_rng(0)
    views = [augmentation.draw_view(rng, SIZE_HW) for _ in range(400)]
    scales = np.array([view.scale_xy for view in views])

    assert (scales[:, 0] == scales[:, 1]).all()
    assert 0.5 <= scales.min() < 0.55
    assert 1.8 < scales.max() <= 2.0
    assert 0.4 < np.mean([view.mirrored for view in views]) < 0.6
    assert not any(Augmentation(mirror=False).draw_view(rng, SIZE_HW).mirrored for _ in range(50))


def test_colours_change_within_their_range_and_nothing_else() -> None:
    grey_hwc = np.full((*SIZE_HW, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    levels = []
    for _ in range(100):
        changed = Augmentation(colour=0.2).draw_colours(rng, grey_hwc)
        assert len(np.unique(changed)) == 1  # contrast and saturation of one grey are none
        levels.append(int(changed[0, 0, 0]))
    assert 80 <= min(levels) < 85
    assert 115 < max(levels) <= 120
    np.testing.assert_array_equal(Augmentation(colour=0).draw_colours(rng, masked_image()), masked_image())


@pytest.mark.parametrize(
    "arguments", [{"zoom": (0, 1)}, {"zoom": (2, 1)}, {"aspect": 0.5}, {"visible": 1.1}, {"colour": 1.0}]
)
def test_ranges_that_are_none_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(OnnxplainError, match="expected 0 < zoom"):
        Augmentation(**arguments)
