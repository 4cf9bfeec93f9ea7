"""A folder belongs to one run: it is continued, never mixed; what is whole is kept, and the end is marked last."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from onnxplain import Engine
from onnxplain.batch.folder import SUCCESS_FILE
from onnxplain.batch.plan import PLAN_FILE, BatchPlan
from onnxplain.batch.progress import Moment
from onnxplain.batch.run_batch import run_batch
from onnxplain.batch.status import read_status
from onnxplain.batch.stores.output import LocalOutput
from onnxplain.errors import OnnxplainError
from onnxplain.files.lock import lock_folder
from tests.batch.reading import part_bytes, rows
from tests.batch.trouble import request, run
from tests.models import ExplainableModel


@pytest.fixture
def out(model: Path, photos: Path, tmp_path: Path) -> Path:
    """A whole batch of 61 images in 8 parts."""
    run(model, photos, tmp_path / "out")
    return tmp_path / "out"


def test_parts_that_are_there_are_kept_and_missing_ones_done_with_the_same_bytes(
    out: Path, model: Path, photos: Path
) -> None:
    whole = part_bytes(out)
    assert len(whole) == 8
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    (out / "part-00003.parquet").unlink()
    (out / ".onnxplain-0123456789abcdef.part").write_bytes(b"half")
    shown: list[Moment] = []
    counts = run(model, photos, out, show=shown.append)
    assert part_bytes(out) == whole
    changed = [path.name for path in out.glob("*.parquet") if path.stat().st_mtime_ns != times[path.name]]
    assert changed == ["part-00003.parquet"]
    assert not list(out.glob(".onnxplain-*"))
    assert (counts.parts, counts.images, counts.failed) == (8, 61, 1)
    assert shown[0].images_done == 61 - 8 + 8
    assert shown[-1].parts_done == 8


def test_the_mark_of_the_end_is_missing_while_a_part_is(out: Path, model: Path, photos: Path) -> None:
    assert (out / SUCCESS_FILE).exists()
    (out / "part-00000.parquet").unlink()
    marks: list[bool] = []
    run(model, photos, out, show=lambda moment: marks.append((out / SUCCESS_FILE).exists()))
    assert marks == [False, False, True]


def test_the_plan_and_the_record(out: Path, photos: Path) -> None:
    header, *images = map(json.loads, (out / PLAN_FILE).read_text(encoding="utf-8").splitlines())
    assert header == {
        "schema": "onnxplain-batch-plan",
        "version": 1,
        "images": 61,
        "part_size": 8,
        "threads": 1,
        "at_once": 8,
        "masked_copies": "host",
    }
    assert images == sorted(path.as_posix() for path in photos.rglob("*.png"))
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    plan = BatchPlan(tuple(images), 8, 1, "host")
    assert record["plan"] == {
        "file": PLAN_FILE,
        "sha256": plan.sha256,
        "images": 61,
        "parts": 8,
        "part_size": 8,
    }
    assert record["counts"] == {"parts": 8, "images": 61, "failed": 1}
    assert record["ended"] is not None
    assert "pictures" not in record


OTHERS = {
    "methods": ({"methods": ("grad-cam", "layer-cam")}, "another methods, targets or options"),
    "targets": ({"targets": ("one",)}, "another methods, targets or options"),
    "part size": ({"part_size": 16}, "another plan"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_run_into_the_folder_is_refused(other: str, out: Path, model: Path, photos: Path) -> None:
    options, words = OTHERS[other]
    before = part_bytes(out)
    with pytest.raises(OnnxplainError, match=words):
        run(model, photos, out, **options)
    assert part_bytes(out) == before


def test_another_source_or_model_is_refused(out: Path, model: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match="another plan"):
        run(model, photos / "first", out)

    class Other(ExplainableModel):
        box_weights = ExplainableModel.box_weights * 2

    other = Other().write(tmp_path / "other.onnx")
    with pytest.raises(OnnxplainError, match="another model"):
        run(other, photos, out)
    moved = shutil.copy(model, tmp_path / "moved.onnx")
    run(moved, photos, out)


def test_a_folder_of_another_version_or_without_a_record_is_refused(out: Path, model: Path, photos: Path) -> None:
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    (out / "run.json").write_text(json.dumps({**record, "version": 99}))
    with pytest.raises(OnnxplainError, match="version 99, expected 'onnxplain-batch' version 1"):
        run(model, photos, out)
    (out / "run.json").write_text(json.dumps({**record, "versions": {**record["versions"], "onnxplain": "0.0.1"}}))
    with pytest.raises(OnnxplainError, match="another version of onnxplain"):
        run(model, photos, out)
    (out / "run.json").unlink()
    with pytest.raises(OnnxplainError, match="parts without run"):
        run(model, photos, out)


def test_a_part_of_another_run_is_refused(out: Path, model: Path, photos: Path, tmp_path: Path) -> None:
    run(model, photos, tmp_path / "other", targets=("one",))
    shutil.copy(tmp_path / "other" / "part-00001.parquet", out / "part-00001.parquet")
    with pytest.raises(OnnxplainError, match="of another run"):
        run(model, photos, out)
    (out / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(OnnxplainError, match="found no part of a batch"):
        run(model, photos, out)


def test_two_writers(model: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="the system has no such locks")
    with lock_folder(tmp_path), pytest.raises(OnnxplainError, match="another onnxplain is writing there"):
        run(model, photos, tmp_path)


def test_a_first_part_of_failures_stops_the_run(model: Path, tmp_path: Path) -> None:
    """And is not written, so that the run can go on when the cause is gone."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for number in range(4):
        (source / f"{number}.png").write_bytes(b"nothing")
    with pytest.raises(OnnxplainError, match=r"found 2 images in the first part and none .* first error: .*0\.png"):
        run(model, source, out, part_size=2)
    assert not list(out.glob("*.parquet"))


def test_a_later_part_of_failures_is_written(model: Path, photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(photos / "00.png", source)
    for number in range(4):
        (source / f"later-{number}.png").write_bytes(b"nothing")
    assert run(model, source, tmp_path / "out", part_size=2).failed == 4
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok", *["failed"] * 4]


def test_a_time_budget_is_refused(model: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match="must not depend on the machine's speed"):
        run_batch(request(model, photos, tmp_path / "out", methods=("rise",), budget_seconds=1.0), lambda moment: None)


def test_the_status(out: Path, model: Path, photos: Path) -> None:
    pytest.importorskip("fcntl", reason="the system has no such locks")
    assert read_status(LocalOutput(out)).state == "finished"
    (out / SUCCESS_FILE).unlink()
    (out / "part-00007.parquet").unlink()
    status = read_status(LocalOutput(out))
    assert status.as_json() == {
        "state": "stopped",
        "images": 61,
        "images_done": 56,
        "failed": 1,
        "parts": 8,
        "parts_done": 7,
        "images_per_second": None,
        "seconds_left": None,
    }
    with lock_folder(out):
        assert read_status(LocalOutput(out)).state == "running"
    with pytest.raises(OnnxplainError, match="found no batch"):
        read_status(LocalOutput(photos))


def test_an_image_that_changes_while_it_is_read_is_a_row(model: Path, photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(photos / "second", source)
    victim = sorted(source.iterdir())[1]

    class Changing(Engine):
        def read(self, image, *arguments):
            if isinstance(image, Path) and image == victim:
                victim.write_bytes(victim.read_bytes() + b"\0")
            return super().read(image, *arguments)

    run(model, source, tmp_path / "out", kind=Changing)
    failed = [row for row in rows(tmp_path / "out") if row["error"] is not None]
    assert [row["image"] for row in failed] == [victim.as_posix()]
    assert "changed while it was read" in failed[0]["error"]


def test_a_name_that_is_not_utf_8(model: Path, photos: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    try:
        shutil.copy(photos / "00.png", os.fsdecode(os.fsencode(source) + b"/\xff.png"))
    except OSError:
        pytest.skip("the file system takes UTF-8 names alone")
    run(model, source, tmp_path / "out")
    (row,) = rows(tmp_path / "out")
    assert row["image"].endswith(r"/\udcff.png")
    assert row["status"] != "failed"
