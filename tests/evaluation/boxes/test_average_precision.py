"""Mean average precision on detections whose precision at each recall is known by hand."""

from __future__ import annotations

import sys

import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.boxes.average_precision import mean_average_precisions

pytest.importorskip("supervision", reason="needs the metrics extra")

A, B, AWAY = [0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70]


def row(found, truths) -> dict:
    return {
        "detections": [{"xyxy": box, "class_id": class_id, "score": score} for box, class_id, score in found],
        "truths": [{"xyxy": box, "class_id": class_id} for box, class_id in truths],
    }


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row([(A, 0, 0.9), (B, 1, 0.8)], [(A, 0), (B, 1)])], (1, 1, 1)),
        ([row([], [(A, 0)])], (0, 0, 0)),
        # One class found, the other not.
        ([row([(A, 0, 0.9)], [(A, 0), (B, 1)])], (0.5, 0.5, 0.5)),
        # The wrong box comes first: precision 1/2 at every recall.
        ([row([(AWAY, 0, 0.95), (A, 0, 0.9)], [(A, 0)])], (0.5, 0.5, 0.5)),
        # IoU 0.6 counts at 0.50, 0.55 and 0.60.
        ([row([([0, 0, 10, 6], 0, 0.9)], [(A, 0)])], (0.3, 1, 0)),
        # Two true boxes of one class, one found: recalls up to 0.5 have precision 1, 51 of 101.
        ([row([(A, 0, 0.9)], [(A, 0), (B, 0)])], (51 / 101,) * 3),
        # A better detection in an image where it is wrong counts too.
        ([row([(A, 0, 0.9)], [(A, 0)]), row([(A, 0, 0.95)], [(B, 0)])], (51 / 101 / 2,) * 3),
        ([row([(A, 0, 0.9)], [])], (None,) * 3),
    ],
)
def test_by_hand(rows, expected) -> None:
    found = mean_average_precisions(rows)
    assert (found.mean_average_precision, found.map_50, found.map_75) == pytest.approx(expected, abs=1e-6)


def test_without_the_library_the_error_names_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(OnnxplainError, match=r'supervision: not installed.*pip install "onnxplain\[metrics\]"'):
        mean_average_precisions([])
