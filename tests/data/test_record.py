from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain.data.record import Record
from onnxplain.errors import ImageError, OnnxplainError

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
BOX = [[0, 0, 2, 1]]


def test_record_of_pixels_gives_them_back() -> None:
    record = Record(PIXELS, "cat", np.array(BOX), name="two by three")

    assert record.load() is PIXELS
    assert record.boxes_xyxy.dtype == np.float32
    assert record.boxes_xyxy.tolist() == BOX


def test_record_of_a_path_is_read_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "cat.7.png"
    record = Record(path, "cat", np.array(BOX))
    with pytest.raises(ImageError):
        record.load()

    Image.fromarray(PIXELS).save(path)

    assert record.name == "cat.7"
    np.testing.assert_array_equal(record.load(), PIXELS)


@pytest.mark.parametrize("empty", [np.empty((0, 4)), np.empty(0), []])
def test_record_without_boxes_has_an_empty_array_of_four_columns(empty: object) -> None:
    assert Record(PIXELS, "cat", empty).boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("image", "boxes", "message"),
    [
        (PIXELS.astype(np.float32), BOX, "float32"),
        (PIXELS[:, :, 0], BOX, r"\(2, 3\)"),
        (PIXELS, [0, 0, 2, 1], r"\(4,\), expected \(M, 4\)"),
        (PIXELS, [[2, 0, 0, 1]], "x1 < x2"),
        (PIXELS, [[0, 1, 2, 1]], "y1 < y2"),
        (PIXELS, [[0, 0, np.nan, 1]], "finite"),
    ],
)
def test_malformed_records_are_refused(image: np.ndarray, boxes: list[object], message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        Record(image, "cat", np.array(boxes))
