from __future__ import annotations

import numpy as np
import pytest

from onnxplain.data.boxes import cxcywh_to_xyxy, paired_iou, xyxy_to_cxcywh


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ((0, 0, 4, 2), (0, 0, 4, 2), 1.0),
        ((0, 0, 4, 2), (2, 0, 6, 2), 4 / 12),
        ((0, 0, 4, 4), (1, 1, 3, 3), 4 / 16),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),
        ((0, 0, 2, 2), (5, 5, 6, 6), 0.0),
        ((2, 2, 0, 0), (0, 0, 2, 2), 0.0),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.0),
    ],
)
def test_overlap_by_hand(box: tuple[float, ...], other: tuple[float, ...], expected: float) -> None:
    pair = np.array([box], np.float32), np.array([other], np.float32)

    assert paired_iou(*pair)[0] == pytest.approx(expected)
    assert paired_iou(*pair[::-1])[0] == pytest.approx(expected)


def test_overlap_of_whole_pixel_boxes_equals_a_count_of_pixels() -> None:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 12, (2, 50, 2, 2)), axis=2)
    corners[:, :, 1] += 1
    boxes, others = corners.reshape(2, 50, 4)

    def pixels(box: np.ndarray) -> np.ndarray:
        canvas = np.zeros((13, 13), bool)
        canvas[box[1] : box[3], box[0] : box[2]] = True
        return canvas

    counted = [
        (pixels(box) & pixels(other)).sum() / (pixels(box) | pixels(other)).sum()
        for box, other in zip(boxes, others, strict=True)
    ]
    np.testing.assert_allclose(paired_iou(boxes, others), counted, rtol=1e-6)


def test_formats_by_hand_and_back() -> None:
    corners = np.array([[1, 2, 5, 10]], np.float32)

    assert xyxy_to_cxcywh(corners).tolist() == [[3, 6, 4, 8]]
    np.testing.assert_array_equal(cxcywh_to_xyxy(xyxy_to_cxcywh(corners)), corners)
