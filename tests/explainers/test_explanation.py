from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.drawing.colours import blend
from onnxplain.explainers.explanation import Explanation
from onnxplain.explainers.heatmap import relu_over_max
from onnxplain.explainers.regions import find_regions
from onnxplain.runtime import make_frame

IMAGE_SIZE_HW = (40, 100)


@pytest.fixture
def explanation() -> Explanation:
    raw = np.random.default_rng(2).normal(size=(6, 6)).astype(np.float32)
    frame = make_frame(IMAGE_SIZE_HW, (32, 32), "crop")
    heatmap, status = relu_over_max(raw, frame)
    return Explanation(
        heatmap=heatmap,
        raw=raw,
        status=status,
        method="cam",
        target=1,
        target_name="bee",
        score=0.7,
        label="bee",
        layer="relu",
        frame=frame,
        evaluations=1,
    )


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*IMAGE_SIZE_HW, 3), dtype=np.uint8)


@pytest.mark.parametrize(("default", "asked", "used"), [(0.15, None, 0.15), (0.5, None, 0.5), (0.15, 0.8, 0.8)])
def test_boxes_are_cut_at_the_methods_threshold_unless_told(explanation: Explanation, default, asked, used) -> None:
    found = replace(explanation, default_threshold=default).boxes(asked)
    expected = find_regions(explanation.heatmap, used)
    assert found.level == expected.level == pytest.approx(used)
    np.testing.assert_array_equal(found.xyxy, expected.xyxy)


def test_overlay_tints_the_whole_crop_and_nothing_outside_it(explanation: Explanation) -> None:
    image = photo()
    overlay = explanation.overlay(image, colormap="viridis", alpha=0.4)
    seen = explanation.frame.map_to_image(np.ones((1, 1), np.float32)) > 0
    assert 0 < seen.mean() < 0.5
    tinted = blend(image, explanation.heatmap, "viridis", 0.4)
    np.testing.assert_array_equal(overlay, np.where(seen[..., None], tinted, image))


@pytest.mark.parametrize("kind", ["array", "pil", "path", "str"])
def test_overlay_takes_every_kind_of_image(explanation: Explanation, tmp_path: Path, kind: str) -> None:
    image = photo()
    path = tmp_path / "photo.png"
    Image.fromarray(image).save(path)
    given = {"array": image, "pil": Image.fromarray(image), "path": path, "str": str(path)}[kind]
    np.testing.assert_array_equal(explanation.overlay(given), explanation.overlay(image))


def test_without_evidence_the_photo_stays_as_it_is(explanation: Explanation) -> None:
    nothing = replace(explanation, heatmap=explanation.heatmap * 0, status="no_positive_evidence")
    np.testing.assert_array_equal(nothing.overlay(photo()), photo())


def test_overlay_of_another_photo_is_refused(explanation: Explanation) -> None:
    with pytest.raises(OnnxplainError, match=r"^overlay: found an image of \(40, 99\).*expected the image"):
        explanation.overlay(photo()[:, 1:])


WRONG = np.zeros(IMAGE_SIZE_HW, np.float32)
WRONG[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heatmap": WRONG.astype(np.float64)}, "found heatmap float64"),
        ({"heatmap": WRONG[:, 1:]}, r"found heatmap float32 \(40, 99\)"),
        ({"heatmap": WRONG * 0.5}, "found heat from 0.0 to 0.5, expected from 0 up to 1.0"),
        ({"heatmap": WRONG - 0.1}, "found heat from -0.1"),
        ({"heatmap": WRONG * np.nan}, "found heat from nan"),
        ({"status": "constant"}, "expected from 0 up to 0.0 for status constant"),
        ({"status": "fine"}, "found status 'fine', expected one of ok"),
        ({"raw": np.zeros((3, 3))}, "found raw float64"),
        ({"raw": np.zeros(3, np.float32)}, r"found raw float32 \(3,\)"),
    ],
)
def test_an_explanation_that_contradicts_itself_cannot_be_made(
    explanation: Explanation, changes: dict, message: str
) -> None:
    with pytest.raises(OnnxplainError, match=f"^explanation: {message}|{message}"):
        replace(explanation, **changes)
