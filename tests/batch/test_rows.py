"""Every image has its rows, and they hold what `explain` says of each image alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from onnxplain import Engine, explain
from onnxplain.batch.schema import COLUMNS
from tests.batch.reading import rows
from tests.batch.trouble import run
from tests.models import ExplainableModel, write_classifier


@pytest.fixture(scope="module")
def whole(model: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch of two methods in one process."""
    out = tmp_path_factory.mktemp("whole")
    run(model, photos, out, methods=("grad-cam", "rise"), targets=("one",), masks=64, part_size=16)
    return out


def test_each_image_has_one_row_per_method_and_target_or_one_with_its_error(whole: Path, photos: Path) -> None:
    found = rows(whole)
    images = sorted(path.as_posix() for path in photos.rglob("*.png"))
    expected = [(image, method) for image in images if "damaged" not in image for method in ("grad-cam", "rise")]
    assert [(row["image"], row["method"]) for row in found if row["error"] is None] == expected
    (failed,) = [row for row in found if row["error"] is not None]
    assert failed["image"].endswith("first/07-damaged.png")
    assert "damaged or truncated" in failed["error"] or "found no image" in failed["error"]
    filled = {name for name, value in failed.items() if value is not None}
    assert filled == {"image", "status", "error"}
    assert failed["status"] == "failed"


def test_a_row_holds_what_the_call_says(whole: Path, model: Path) -> None:
    """The call sees each image alone, the batch eight at a time: equal up to float32 rounding and float16 storage."""
    engine = Engine(model, threads=1)
    for row in rows(whole)[::9]:
        if row["error"] is not None:
            continue
        options = {"masks": 64} if row["method"] == "rise" else {}
        alone = explain(engine, row["image"], row["method"], "one", **options)
        assert row["image_sha256"] == hashlib.sha256(Path(row["image"]).read_bytes()).hexdigest()
        assert (row["height"], row["width"]) == alone.frame.image_size_hw
        assert (row["target"], row["target_name"], row["label"]) == (alone.target, alone.target_name, alone.label)
        assert row["score"] == pytest.approx(alone.score, abs=1e-6)
        assert (row["status"], row["layer"], row["evaluations"]) == (alone.status, alone.layer, alone.evaluations)
        heat = np.asarray(row["heat"], np.float32).reshape(row["heat_height"], row["heat_width"])
        np.testing.assert_allclose(heat * row["heat_peak"], alone.raw, atol=2e-3 * np.abs(alone.raw).max())
        assert np.abs(heat).max() == (1 if alone.raw.any() else 0)
        regions = alone.boxes()
        assert row["level"] == pytest.approx(regions.level)
        boxes = [[box[side] for side in ("x1", "y1", "x2", "y2")] for box in row["boxes"]]
        np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), regions.xyxy, atol=1e-3)
        frame = row["frame"]
        assert (frame["scale_x"], frame["scale_y"]) == alone.frame.scale_xy
        assert (frame["offset_x"], frame["offset_y"]) == alone.frame.offset_xy
        if row["method"] == "rise":
            assert alone.report is not None
            assert row["relative_error"] == pytest.approx(alone.report.map_error, rel=1e-3)
            assert row["seed"] == 0
        else:
            assert row["relative_error"] is row["seed"] is None


def test_answers_are_those_of_the_engine(whole: Path, model: Path) -> None:
    engine = Engine(model, threads=1)
    row = rows(whole)[0]
    ((classes, box),) = engine.answers(row["image"])
    found_classes, found_box = row["answers"]
    assert (found_classes["head"], found_classes["kind"]) == (classes.head.name, "classes")
    top = classes.top(5)
    assert [entry["index"] for entry in found_classes["entries"]] == [each.index for each in top]
    np.testing.assert_allclose([e["score"] for e in found_classes["entries"]], [e.score for e in top], atol=1e-6)
    np.testing.assert_allclose(found_box["xyxy"], box.xyxy, atol=1e-4)


def test_a_model_with_one_head_needs_no_pass_for_its_answers(photos: Path, tmp_path: Path) -> None:
    """They come from the explanation, and are the same."""
    path = write_classifier(tmp_path / "plain.onnx")
    asked: list[int] = []

    class Counting(Engine):
        def answers(self, images):
            asked.append(1)
            return super().answers(images)

    run(path, photos / "second", tmp_path / "out", methods=("rise",), masks=64, kind=Counting)
    assert not asked
    engine = Engine(path, threads=1)
    for row in rows(tmp_path / "out")[:3]:
        ((classes,),) = engine.answers(row["image"])
        top = classes.top(5)
        (found,) = row["answers"]
        assert [entry["index"] for entry in found["entries"]] == [each.index for each in top]
        np.testing.assert_allclose([e["score"] for e in found["entries"]], [e.score for e in top], atol=1e-6)


def test_several_targets_of_an_image(model: Path, photos: Path, tmp_path: Path) -> None:
    run(model, photos / "second", tmp_path, targets=("one", "box:2", "zero"))
    found = rows(tmp_path)
    assert len(found) == 3 * 20
    assert [row["target_name"] for row in found[:3]] == ["one", "box:2", "zero"]


def test_an_image_at_which_the_model_fails_is_a_row(model: Path, photos: Path, tmp_path: Path) -> None:
    """Images that are read together are explained alone then, so that the others have their rows."""

    class Failing(Engine):
        def prepare(self, images):
            batch = super().prepare(images)
            if any(image.shape[:2] == (12, 10) for image in batch.images):
                raise ValueError("not this one")
            return batch

    counts = run(model, photos, tmp_path, kind=Failing)
    failed = [row for row in rows(tmp_path) if row["error"] is not None and "damaged" not in row["image"]]
    sizes = [(12 + number % 7, 10 + number % 5) for number in range(60)]
    assert len(failed) == sizes.count((12, 10)) == counts.failed - 1
    assert all("internal error (ValueError: not this one)" in row["error"] for row in failed)
    assert (failed[0]["height"], failed[0]["width"]) == (12, 10)


def test_small_gradients_do_not_vanish_in_float16(photos: Path, tmp_path: Path) -> None:
    """Gradients that are still more than the rounding of the logits."""

    class Faint(ExplainableModel):
        def jacobian(self, layer):
            return super().jacobian(layer) * np.float32(1e-6)

    path = Faint().write(tmp_path / "faint.onnx")
    run(path, photos / "second", tmp_path / "out")
    ok = [row for row in rows(tmp_path / "out") if row["status"] == "ok"]
    assert ok
    assert all(0 < row["heat_peak"] < np.finfo(np.float16).tiny and max(map(abs, row["heat"])) == 1 for row in ok)


def test_the_schema_is_that_of_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
    table = page.split("| column |")[1].split("\n\n")[0]
    named = [line.split("|")[1].strip().strip("`") for line in table.splitlines()[2:]]
    assert named == list(COLUMNS)
