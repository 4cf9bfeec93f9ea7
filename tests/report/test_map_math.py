"""The page's JavaScript against Python: the same heat, the same regions, the same colours."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxplain import Engine
from onnxplain.contract import MapFrame
from onnxplain.demo import MODEL, read_samples
from onnxplain.explainers import build, supported
from onnxplain.explainers.drawing.colours import blend
from onnxplain.explainers.heatmap import minus_min_over_range, relu_over_max, visible_window
from onnxplain.explainers.regions import find_regions
from onnxplain.report.map_code import MOST_EXACT_CELLS, encode_map
from onnxplain.report.page_file import _palette
from onnxplain.runtime.geometry import Frame, make_frame
from tests.explainers.test_contract_of_methods import OPTIONS

SCRIPT = files("onnxplain.report") / "page" / "map_math.js"
NUMBERS = Path(__file__).with_name("map_numbers.mjs")
TOLERANCE = 1e-6
# Half a step of 16 bits, and what float32 rounds.
STEP_TOLERANCE = 1 / 2**16


def ask(maps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What map_math.js says of each map."""
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    result = subprocess.run(
        ["node", str(NUMBERS), str(SCRIPT)],
        input=json.dumps(maps),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    answers: list[dict[str, Any]] = json.loads(result.stdout)
    return answers


def described(
    raw: np.ndarray, frame: Frame, map_frame: MapFrame | None, from_zero: bool, threshold: float
) -> dict[str, Any]:
    return {
        "code": encode_map(raw, heat_from_zero=from_zero),
        "frame": asdict(frame),
        "map_frame": None if map_frame is None else asdict(map_frame),
        "heat_from_zero": from_zero,
        "threshold": threshold,
        "size_hw": frame.image_size_hw,
    }


def assert_same_regions(found: list[dict[str, Any]], expected: Any) -> None:
    """Every box is the same: IoU 1.000. Regions of equal size and heat may stand in another order."""
    boxes = [tuple(float(side) for side in xyxy) for xyxy in expected.xyxy]
    assert sorted(tuple(each["xyxy"]) for each in found) == sorted(boxes)
    assert [each["area"] for each in found] == expected.area.tolist()
    if len(boxes) and len(found):
        assert tuple(found[0]["xyxy"]) == boxes[0] or found[0]["area"] == expected.area[1]


CROP = make_frame((90, 150), (64, 48), "crop")
LETTERBOX = make_frame((150, 70), (64, 64), "letterbox")
STRETCH = make_frame((33, 57), (32, 32), "stretch")
SINGLE = make_frame((41, 40), (16, 16), "stretch")
STRIDED = MapFrame((8.0, 6.0), (-3.5, 2.0), ((0.0, 60.0), (3.0, 40.5)))
CASES = [
    (frame, map_frame, shape, from_zero)
    for frame in (CROP, LETTERBOX, STRETCH)
    for map_frame in (None, STRIDED if frame is CROP else None)
    for shape in ((7, 5), (13, 13), (1, 4))
    for from_zero in (True, False)
] + [(SINGLE, None, (70, 70), True), (LETTERBOX, None, (72, 65), False)]


@pytest.fixture(scope="module")
def cases() -> list[tuple[Any, ...]]:
    """(raw, frame, map frame, from zero, threshold) and what the page says."""
    rng = np.random.default_rng(5)
    asked = []
    for frame, map_frame, shape, from_zero in CASES:
        raw, lay = np.zeros(shape, np.float32), relu_over_max if from_zero else minus_min_over_range
        while lay(raw, frame, map_frame)[1] != "ok":
            raw = (rng.normal(size=shape) * 3 + 0.7).astype(np.float32)
        asked.append((raw, frame, map_frame, from_zero, float(rng.uniform(0.05, 0.9))))
    answers = ask([described(*each) for each in asked])
    return [(*each, answer) for each, answer in zip(asked, answers, strict=True)]


def test_random_maps_in_every_frame(cases: list[tuple[Any, ...]]) -> None:
    for raw, frame, map_frame, from_zero, threshold, answer in cases:
        heat, status = (relu_over_max if from_zero else minus_min_over_range)(raw, frame, map_frame)
        assert status == "ok"
        exact = raw.size <= MOST_EXACT_CELLS
        kept = raw if exact or not from_zero else np.maximum(raw, 0)
        tolerance = 0 if exact else STEP_TOLERANCE * float(np.ptp(kept))
        np.testing.assert_allclose(np.array(answer["raw"]).reshape(raw.shape), kept, rtol=0, atol=tolerance)
        found = np.array(answer["heat"], np.float32).reshape(heat.shape)
        np.testing.assert_allclose(found, heat, rtol=0, atol=TOLERANCE if exact else 2 * STEP_TOLERANCE)
        rows, columns = visible_window(frame, map_frame)
        assert answer["window"] == [rows.start, rows.stop, columns.start, columns.stop]
        if exact:
            assert_same_regions(answer["regions"], find_regions(heat, threshold))


def test_small_maps_are_exact_and_large_ones_take_a_byte_or_two_per_cell() -> None:
    rng = np.random.default_rng(0)
    small = rng.normal(size=(64, 64)).astype(np.float32)
    assert encode_map(small, heat_from_zero=True)["kind"] == "float32"
    coarse = rng.random((7, 7)).astype(np.float32)
    smooth = make_frame((224, 224), (7, 7), "stretch").map_to_image(coarse)
    code = encode_map(smooth, heat_from_zero=False)
    assert code["kind"] == "steps"
    assert len(code["data"]) < 2 * smooth.size


def test_a_constant_map_has_no_step_of_zero() -> None:
    code = encode_map(np.full((70, 70), 2.5, np.float32), heat_from_zero=False)
    assert (code["low"], code["step"]) == (2.5, 1.0)


def test_every_method_on_a_photo() -> None:
    engine, image = Engine(MODEL), read_samples()[0].load()
    options = {**OPTIONS, "score-cam": {}, "rise": {"masks": 40}}
    explanations = [build(name, engine, **options.get(name, {}))(image) for name in supported(engine)]
    shown = [each for each in explanations if each.status == "ok"]
    assert len(shown) > 8
    answers = ask(
        [described(each.raw, each.frame, each.map_frame, each.heat_from_zero, each.default_threshold) for each in shown]
    )
    for explanation, answer in zip(shown, answers, strict=True):
        found = np.array(answer["heat"], np.float32).reshape(explanation.heatmap.shape)
        np.testing.assert_allclose(found, explanation.heatmap, rtol=0, atol=TOLERANCE, err_msg=explanation.method)
        assert_same_regions(answer["regions"], explanation.boxes())


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_colours_are_those_of_the_pictures(alpha: float) -> None:
    raw = np.random.default_rng(4).normal(size=(6, 8)).astype(np.float32)
    photo = np.random.default_rng(1).integers(0, 256, (*STRETCH.image_size_hw, 3), np.uint8)
    heat, _ = relu_over_max(raw, STRETCH)
    (answer,) = ask([{**described(raw, STRETCH, None, True, 0.5), "palette": _palette("inferno"), "alpha": alpha}])
    painted = np.array(answer["painted"], np.float64).reshape(*heat.shape, 4)
    opacity = painted[..., 3:] / 255
    shown = photo * (1 - opacity) + painted[..., :3] * opacity
    assert np.abs(shown - blend(photo, heat, "inferno", alpha)).max() <= 2
    # No heat changes no pixel.
    assert (painted[..., 3][heat == 0] == 0).all()


def test_regions_touch_at_corners_and_u_shapes_are_one() -> None:
    hot = np.array(
        [[1, 0, 1, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1]]
    )
    raw = hot.astype(np.float32)
    frame = make_frame(raw.shape, raw.shape, "stretch")
    (answer,) = ask([described(raw, frame, None, True, 0.5)])
    assert_same_regions(answer["regions"], find_regions(raw, 0.5))
    assert answer["regions"][0]["xyxy"] == [0, 0, 4, 4]


def test_very_large_photos_are_cut_on_a_coarser_grid() -> None:
    """Of 24 megapixels every box is at most a step of the grid away, and the heat where it is drawn is the same."""
    raw = np.random.default_rng(6).random((7, 9)).astype(np.float32)
    frame = make_frame((4000, 6000), (224, 224), "crop")
    (answer,) = ask([{**described(raw, frame, None, True, 0.8), "size_hw": (80, 120)}])
    expected = find_regions(relu_over_max(raw, frame)[0], 0.8)
    assert len(answer["regions"]) == len(expected)
    for found, xyxy in zip(answer["regions"], expected.xyxy, strict=True):
        assert np.abs(np.array(found["xyxy"]) - xyxy).max() < 2.5
