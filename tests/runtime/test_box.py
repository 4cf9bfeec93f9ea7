from __future__ import annotations

import numpy as np
import pytest

from onnxplain.contract import BoxSpec
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.box import decode_boxes, place_boxes
from onnxplain.runtime.geometry import make_frame

SIZE_HW = (100, 200)
CORNERS = (20.0, 10.0, 120.0, 60.0)


@pytest.mark.parametrize(
    ("box_format", "units", "raw"),
    [
        ("xyxy", "pixels", (20, 10, 120, 60)),
        ("xywh", "pixels", (20, 10, 100, 50)),
        ("cxcywh", "pixels", (70, 35, 100, 50)),
        ("xyxy", "normalized", (0.1, 0.1, 0.6, 0.6)),
        ("xywh", "normalized", (0.1, 0.1, 0.5, 0.5)),
        ("cxcywh", "normalized", (0.35, 0.35, 0.5, 0.5)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_format_gives_the_same_corners(box_format, units, raw, dtype):
    boxes = decode_boxes(np.array([raw, raw], dtype), BoxSpec(box_format, units), SIZE_HW)
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes, [CORNERS, CORNERS], atol=0.1 if dtype == np.float16 else 1e-4)


@pytest.mark.parametrize(
    ("box_format", "raw"), [("xyxy", (120, 60, 20, 10)), ("xywh", (120, 60, -100, -50)), ("cxcywh", (70, 35, -100, 50))]
)
def test_negative_sizes_span_the_same_box(box_format, raw):
    boxes = decode_boxes(np.array([raw], np.float32), BoxSpec(box_format, "pixels"), SIZE_HW)
    np.testing.assert_allclose(boxes, [CORNERS])


def test_four_numbers_in_any_shape():
    raw = np.reshape([20, 10, 120, 60], (1, 1, 4)).astype(np.float32)
    np.testing.assert_allclose(decode_boxes(raw, BoxSpec("xyxy", "pixels"), SIZE_HW), [CORNERS])
    with pytest.raises(OnnxplainError, match=r"expected \(N, 4\)"):
        decode_boxes(np.zeros((2, 5), np.float32), BoxSpec(), SIZE_HW)


def test_boxes_are_placed_in_each_original():
    frames = [make_frame((50, 50), SIZE_HW, "stretch"), make_frame((200, 400), SIZE_HW, "letterbox")]
    boxes = np.array([CORNERS, CORNERS], np.float32)
    assert place_boxes(boxes, frames) == [(5, 5, 30, 30), (40, 20, 240, 120)]
