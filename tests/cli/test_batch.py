"""`onnxplain batch`: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxplain.demo import DETECTOR
from tests.cli.process import run_without


@pytest.fixture
def pyarrow() -> None:
    pytest.importorskip("pyarrow", reason="needs the extra batch")


@pytest.mark.usefixtures("pyarrow")
class TestWithTheExtra:
    def test_a_folder_of_images(self, models: Path, images: Path, tmp_path: Path, run) -> None:
        out = tmp_path / "out"
        result = run("batch", models / "explainable.onnx", images, "-m", "grad-cam", "-o", out, "--part-size", "2")
        assert result.exit_code == 0
        assert result.stdout == f"{out}: 3 images in 2 parts, 0 failed\n"
        assert sorted(path.name for path in out.iterdir()) == [
            "_SUCCESS",
            "part-00000.parquet",
            "part-00001.parquet",
            "plan.jsonl",
            "run.json",
        ]
        status = run("batch", "--status", out)
        assert status.stdout == f"{out}: finished, 2 of 2 parts, 3 of 3 images, 0 failed\n"

    def test_a_bad_image_is_status_1_and_json_lines_say_so(self, models: Path, images: Path, tmp_path: Path, run):
        (images / "bad.png").write_bytes(b"nothing")
        out = tmp_path / "out"
        result = run("batch", models / "explainable.onnx", images, "-o", out, "--json")
        assert result.exit_code == 1
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert lines[-1]["state"] == "finished"
        assert (lines[-1]["images_done"], lines[-1]["failed"], lines[-1]["parts_done"]) == (4, 1, 1)
        assert json.loads(run("batch", "--status", out, "--json").stdout)["failed"] == 1

    def test_the_first_image_that_failed_is_named_with_its_reason(
        self, models: Path, images: Path, tmp_path: Path, run
    ) -> None:
        for name in ("bad.png", "worse.png"):
            (images / name).write_bytes(b"nothing")
        out = tmp_path / "out"
        done = run("batch", models / "explainable.onnx", images, "-o", out, "--part-size", "2")
        asked = run("batch", "--status", out)
        assert (done.exit_code, asked.exit_code) == (1, 0)
        for result in (done, asked):
            assert "2 failed\n" in result.stdout
            (line,) = [line for line in result.stderr.splitlines() if "part-" in line]
            assert line.startswith("onnxplain: part-00001.parquet: ")
            assert "bad.png: found no image" in line and "worse" not in line
            assert line.endswith("(all of them: the rows of part-*.parquet with status failed, with their error)")

    def test_threads_and_part_size_of_the_plan_are_kept(self, models: Path, images: Path, tmp_path: Path, run) -> None:
        out, words = tmp_path / "out", ("batch", models / "explainable.onnx", images, "-o", tmp_path / "out", "--quiet")
        assert run(*words, "--threads", "1", "--part-size", "2").exit_code == 0
        (out / "part-00001.parquet").unlink()
        result = run(*words)
        assert (result.exit_code, result.stdout) == (0, "")
        assert run(*words, "--threads", "3").exit_code == 2

    def test_a_plain_file_is_instrumented_on_the_way(self, models: Path, images: Path, tmp_path: Path, run) -> None:
        result = run("batch", models / "conv.onnx", images, "-m", "grad-cam", "-o", tmp_path / "out")
        assert result.exit_code == 0
        assert "instrumented" in result.stderr

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("{model} {images}", "expected MODEL, SOURCE and -o OUT"),
            ("--status {images}", "found no batch"),
            ("{model} --status {images}", "expected --status alone"),
            ("{model} {images} -o memory://out", "expected a folder or a store"),
            ("{model} {images}/none -o {out}", "no such file or folder"),
            ("{model} {images} -o {out} --column path", "expected a table"),
            ("{model} {images} -o {out} -m rise --budget-seconds 1", "must not depend on the machine's speed"),
            ("{model} {images}/notes.txt -o {out}", "in the first part and none that could be explained"),
            ("{model} {images} -o {images}/a.png", "expected a folder"),
            ("{model} {images} -o {out} --target nothing", "nothing"),
            (
                "{detector} {images} -o {out} -m rise",
                "found a detector (layout yolo-dense), expected a model with heads",
            ),
        ],
    )
    def test_bad_input_is_one_line(
        self, words: str, message: str, models: Path, images: Path, tmp_path: Path, run
    ) -> None:
        named = {
            "model": models / "explainable.onnx",
            "images": images,
            "out": tmp_path / "out",
            "detector": DETECTOR,
        }
        result = run("batch", *(word.format(**named) for word in words.split()))
        assert result.exit_code == 2
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1 + ("assumed" in result.stderr)

    def test_other_methods_are_named_also_where_they_need_another_copy(
        self, models: Path, images: Path, tmp_path: Path, run
    ) -> None:
        words = ("batch", models / "conv.onnx", images, "-o", tmp_path / "out", "-m")
        assert run(*words, "grad-cam").exit_code in (0, 1)
        result = run(*words, "occlusion")
        assert result.exit_code == 2
        assert "found a batch with another methods, targets or options" in result.stderr


def test_without_the_extra(models: Path, images: Path, tmp_path: Path) -> None:
    words = ("-m", "onnxplain", "batch", models / "explainable.onnx", images, "-o", tmp_path / "out")
    result = run_without(["pyarrow"], *map(str, words))
    assert result.returncode == 2
    assert 'pyarrow: not installed, but this command needs it: run pip install "onnxplain[batch]"' in result.stderr
