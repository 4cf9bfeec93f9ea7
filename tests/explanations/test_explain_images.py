"""The loop over images without a command line: what it writes, what it says on the way, how it ends."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import OnnxplainError
from onnxplain.explainers import CAM, RISE
from onnxplain.explanations.aims import check_aims
from onnxplain.explanations.explain_images import check_no_overwrite, explain_images
from onnxplain.explanations.questions import plan_questions
from tests.explanations.conftest import open_folder


def read_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "explanations.jsonl").read_text(encoding="utf-8").splitlines()]


def test_good_and_bad_images(engine, photo, progress, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    questions = plan_questions(engine, ["cam", "rise"], (), {"masks": 20, "batch_size": 10})
    told = []
    with open_folder(engine, questions, tmp_path / "out") as folder:
        bad, good = explain_images(
            engine,
            [broken, photo],
            questions,
            folder,
            progress,
            on_written=lambda source, question, written: told.append((source, question, written)),
        )
    assert "found no image" in bad.error
    assert (bad.image_hwc, bad.written) == (None, ())
    assert [(source, question) for source, question, _ in told] == [(photo, question) for question in questions]
    assert tuple(written for *_, written in told) == good.written
    assert [each.path.name for each in good.written] == ["photo.cam.png", "photo.rise.png"]
    assert good.sheet == tmp_path / "out" / "photo.sheet.png"
    assert good.prediction is not None
    assert all(each.box_xyxy == good.prediction.box_xyxy for each in good.written)
    for explainer, stem in ((CAM(engine), "photo.cam"), (RISE(engine, masks=20), "photo.rise")):
        np.testing.assert_array_equal(np.load(tmp_path / "out" / f"{stem}.npy"), explainer(photo).heatmap)
    assert [entry.get("method") for entry in read_lines(tmp_path / "out")] == [None, "cam", "rise"]

    whole = [call for call in progress.calls if call[0] != "within"]
    assert whole == [
        ("expect", 4),
        *(("say", "broken.png"), ("step",), ("step",)),
        *(("say", "photo.png"), ("step",), ("step",)),
    ]
    shares = [call[1:] for call in progress.calls if call[0] == "within"]
    assert shares[-1][0] == shares[-1][1]
    assert progress.calls.index(("within", *shares[0])) > progress.calls.index(("say", "photo.png"))


def test_an_image_of_one_superpixel_is_an_error_of_this_image_and_method(engine, photo, progress, tmp_path):
    """SLIC makes one region where two are asked for."""
    pytest.importorskip("skimage")
    questions = plan_questions(engine, ["lime", "cam"], (), {"cells": 2})
    with open_folder(engine, questions, tmp_path / "out") as folder:
        found = list(explain_images(engine, [photo, photo], questions, folder, progress))
    for explained in found:
        assert [each.explanation.method for each in explained.written] == ["cam"]
        (problem,) = explained.problems
        assert problem.startswith("lime: players: found 1 (superpixels), expected at least 2")
    assert [line.get("problem") for line in read_lines(tmp_path / "out")] == ["method", None] * 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(12).reshape(3, 4), r"^players: found a label map of 3 × 4 for an image of"),
        (None, r"^players: found 1 \(label map\), expected at least 2"),
    ],
)
def test_a_label_map_is_laid_on_every_image_first(engine, photo, tmp_path, labels, message):
    height, width = np.asarray(Image.open(photo)).shape[:2]
    np.save(tmp_path / "map.npy", np.zeros((height, width), int) if labels is None else labels)
    questions = plan_questions(engine, ["lime"], (), {"players": str(tmp_path / "map.npy")})
    with pytest.raises(OnnxplainError, match=message):
        check_aims(engine, questions, [photo], None)


def test_one_method_with_different_options(engine, photo, progress, tmp_path):
    (few,) = plan_questions(engine, ["rise"], ["one"], {"masks": 20})
    (many,) = plan_questions(engine, ["rise"], ["one"], {"masks": 60})
    questions = [dataclasses.replace(few, suffix=".few"), dataclasses.replace(many, suffix=".many")]
    with open_folder(engine, questions, tmp_path / "out") as folder:
        (explained,) = explain_images(engine, [photo], questions, folder, progress)
    assert [each.explanation.report.masks for each in explained.written] == [20, 60]
    for masks, name in ((20, "few"), (60, "many")):
        expected = RISE(engine, masks=masks)(photo, "one").heatmap
        np.testing.assert_array_equal(np.load(tmp_path / "out" / f"photo.{name}.npy"), expected)


def test_an_image_is_never_overwritten(engine, photo, tmp_path):
    source = photo.rename(tmp_path / "photo.cam.png")
    other = tmp_path / "photo.png"
    questions = plan_questions(engine, ["cam"], (), {})
    with pytest.raises(OnnxplainError, match=r"photo\.cam\.png: found an image to explain, expected no file"):
        check_no_overwrite(tmp_path, [other, source], questions)
    check_no_overwrite(tmp_path / "out", [other, source], questions)


@pytest.mark.parametrize("existed", [False, True])
def test_a_run_that_fails_before_its_first_result_leaves_nothing(engine, existed, tmp_path):
    questions = plan_questions(engine, ["cam"], (), {})
    out = tmp_path / "out"
    if existed:
        out.mkdir()
    with pytest.raises(OnnxplainError, match="no more"), open_folder(engine, questions, out):
        assert (out / "run.json").exists()
        raise OnnxplainError("no more")
    assert list(tmp_path.rglob("*")) == ([out] if existed else [])


def test_a_run_that_fails_later_keeps_its_lines(engine, photo, progress, tmp_path):
    questions = plan_questions(engine, ["cam"], (), {})
    out = tmp_path / "out"
    with pytest.raises(OnnxplainError, match="no more"), open_folder(engine, questions, out) as folder:
        list(explain_images(engine, [photo], questions, folder, progress))
        raise OnnxplainError("no more")
    assert [entry["method"] for entry in read_lines(out)] == ["cam"]
