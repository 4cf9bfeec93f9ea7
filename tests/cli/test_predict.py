"""`predict`: what it prints is what the library says."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx
import pytest

from onnxplain import Engine
from onnxplain.contract import PRESETS
from onnxplain.explainers import localize


@pytest.mark.parametrize(("model", "source"), [("explainable", "head"), ("instrumented", "cam"), ("plain", None)])
def test_json_is_what_localize_says(model, source, run, models, images):
    path = models / f"{model}.onnx"
    result = run("predict", path, images, "--json", "--top-k", 3)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == Engine(path).spec.input.assumed
    entries = json.loads(result.stdout)
    assert [entry["image"] for entry in entries] == [str(images / name) for name in ("a.png", "b.jpg", "c.PNG")]
    expected = localize(Engine(path), [entry["image"] for entry in entries])
    for entry, prediction in zip(entries, expected, strict=True):
        assert entry["label"] == prediction.label
        assert entry["class_id"] == prediction.class_id
        assert entry["score"] == pytest.approx(prediction.score)
        assert entry["box_source"] in (source, None)
        assert entry["box_xyxy"] == (None if prediction.box_xyxy is None else pytest.approx(prediction.box_xyxy))
        found = [(best["class_id"], best["label"], best["score"]) for best in entry["top"]]
        assert found == [(index, label, pytest.approx(score)) for index, label, score in prediction.top(3)]
    assert source is None or any(entry["box_source"] == source for entry in entries)


def test_table_has_a_row_per_image_and_further_class(run, models, images):
    result = run("predict", models / "instrumented.onnx", images, "--top-k", 2)
    rows = result.stdout.splitlines()[2:]
    assert len(rows) == 6
    prediction = localize(Engine(models / "instrumented.onnx"), images / "a.png")[0]
    assert str(images / "a.png") in rows[0]
    assert f"{prediction.score:.3f}" in rows[0]
    assert f"{prediction.top(2)[1][2]:.3f}" in rows[1]


@pytest.mark.parametrize("preset", PRESETS)
def test_flags_reach_the_engine(preset, run, models, images, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(list("abcde")))
    path = models / "plain.onnx"
    result = run("predict", path, images / "a.png", "--json", "--preset", preset, "--labels", labels)
    (entry,) = json.loads(result.stdout)
    (expected,) = Engine(path, preprocessing=PRESETS[preset], labels=list("abcde")).predict(images / "a.png")
    assert entry["label"] == expected.label
    assert entry["score"] == pytest.approx(expected.score)


def test_a_flag_overrides_a_part_of_the_file(run, models, images):
    """The file's own normalisation stays where only the resizing is stated."""
    path = models / "instrumented.onnx"
    own = Engine(path).spec.input.preprocessing
    assert own.resize == "crop"
    result = run("predict", path, images / "b.jpg", "--json", "--resize", "stretch")
    (expected,) = Engine(path, preprocessing=replace(own, resize="stretch")).predict(images / "b.jpg")
    (entry,) = json.loads(result.stdout)
    assert entry["score"] == pytest.approx(expected.score)
    assert entry["score"] != pytest.approx(Engine(path).predict(images / "b.jpg")[0].score)


def test_scores_that_are_not_finite_are_null(run, models, images, tmp_path):
    model = onnx.load(models / "plain.onnx")
    (gemm,) = [node for node in model.graph.node if node.op_type == "Gemm"]
    gemm.output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Log", ["before"], ["logits"]))
    onnx.save(model, tmp_path / "nan.onnx")
    arguments = [tmp_path / "nan.onnx", images / "a.png"]
    (entry,) = json.loads(run("predict", *arguments, "--json").stdout, parse_constant=pytest.fail)
    assert entry["score"] is None
    assert "not finite" in run("predict", *arguments).stdout
    run("explain", *arguments, "-m", "rise", "--masks", 4, "-o", tmp_path / "out")
    line = (tmp_path / "out" / "explanations.jsonl").read_text()
    entry = json.loads(line, parse_constant=pytest.fail)
    assert (entry["score"], entry["status"], entry["boxes"]) == (None, "non_finite", [])
