"""`onnxplain compare`: a copy with one weight changed, files that have less in common, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxplain.exporters import instrument
from tests.cli.conftest import RunCommand
from tests.cli.test_report import data_of
from tests.explainers.attention_networks import PREPROCESSING, export, make_transformer
from tests.models import ExplainableModel

METHODS = ("-m", "grad-cam", "-m", "rise", "--masks", 60, "--batch-size", 20)


def change_weight(source: Path, path: Path, name: str, change: Callable[[np.ndarray], None]) -> Path:
    """A copy of a model in which the values of one constant are changed."""
    model = onnx.load(source)
    (constant,) = [each for each in model.graph.initializer if each.name == name]
    values = numpy_helper.to_array(constant).copy()
    change(values)
    constant.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, path)
    return path


def compared(run: RunCommand, *words: object, exit_code: int = 0) -> dict[str, Any]:
    result = run("compare", *words, "--json")
    assert result.exit_code == exit_code, result.stderr
    tree: dict[str, Any] = json.loads(result.stdout)
    return tree


def test_a_file_and_its_copy_do_not_drift(run: RunCommand, models: Path, images: Path, tmp_path: Path) -> None:
    shutil.copy(models / "conv.onnx", tmp_path / "copy.onnx")
    tree = compared(run, models / "conv.onnx", tmp_path / "copy.onnx", images, *METHODS)
    assert tree["differences"] == []
    assert tree["answers"] == {"images": 3, "changed": 0, "not_compared": 0}
    for image in tree["images"]:
        assert (image["changed"], image["score_difference"], image["largest_difference"]) == (False, 0.0, 0.0)
        for each in image["maps"]:
            if each["statuses"] == ["ok", "ok"]:
                assert each["correlation"] == pytest.approx(1) and each["iou"] == 1
    assert [(each["method"], each["beyond_noise"]) for each in tree["methods"]] == [("grad-cam", 0), ("rise", 0)]
    assert all(each["noise"] is None or each["noise"] < 1 for each in tree["methods"])
    assert tree["methods"][0]["noise"] is None and tree["methods"][1]["noise"] is not None


def test_one_changed_weight_is_found(run: RunCommand, models: Path, images: Path, tmp_path: Path) -> None:
    def raise_one(weights: np.ndarray) -> None:
        weights[1, 2] += 8

    other = change_weight(models / "conv.onnx", tmp_path / "other.onnx", "weights", raise_one)
    tree = compared(run, models / "conv.onnx", other, images, *METHODS)
    assert tree["answers"]["changed"] > 0
    worst, *_ = tree["images"]
    assert worst["changed"] is True
    assert max(abs(image["score_difference"]) for image in tree["images"]) > 0.1
    result = run("compare", models / "conv.onnx", other, images, *METHODS, "--top", 1)
    assert result.exit_code == 0
    assert "changed" in result.stdout
    assert "the 1 worst of 3 images" in result.stdout


def test_one_changed_weight_in_front_of_the_layer_moves_the_maps(
    run: RunCommand, models: Path, images: Path, tmp_path: Path
) -> None:
    def change(kernel: np.ndarray) -> None:
        kernel[0, 1, 1, 1] += 4

    other = change_weight(models / "conv.onnx", tmp_path / "other.onnx", "kernel", change)
    tree = compared(run, models / "conv.onnx", other, images, *METHODS)
    grad_cam, rise = tree["methods"]
    assert grad_cam["beyond_noise"] == 3
    assert rise["worst_correlation"] < 1


def test_drift_below_the_noise_of_rise_is_not_beyond_it(
    run: RunCommand, models: Path, images: Path, tmp_path: Path
) -> None:
    """A tiny change moves the maps less than another seed does, and grad-cam shows it nevertheless."""

    def nudge(kernel: np.ndarray) -> None:
        kernel *= 1 + 1e-3 * np.random.default_rng(0).normal(size=kernel.shape)

    other = change_weight(models / "conv.onnx", tmp_path / "other.onnx", "kernel", nudge)
    tree = compared(run, models / "conv.onnx", other, images, *METHODS)
    rise = next(each for each in tree["methods"] if each["method"] == "rise")
    assert rise["beyond_noise"] == 0
    assert rise["noise"] < rise["correlation"] <= 1
    assert any(0 < abs(image["score_difference"]) < 0.01 for image in tree["images"])


def test_a_box_head_and_classes_that_only_one_file_has_are_named(
    run: RunCommand, models: Path, images: Path, tmp_path: Path
) -> None:
    tree = compared(run, models / "explainable.onnx", models / "instrumented.onnx", images, "-m", "rise", "--masks", 20)
    kinds = {each["aspect"]: each for each in tree["differences"]}
    assert kinds["classes"] == {
        "aspect": "classes", "first": "5, 0 in common", "second": "5, 0 in common", "compared": False
    }  # fmt: skip
    assert kinds["box"]["compared"] is False
    assert kinds["input size"]["compared"] is True
    assert tree["answers"] == {"images": 3, "changed": 0, "not_compared": 3}
    assert all(image["maps"] == [] for image in tree["images"])
    result = run("compare", models / "explainable.onnx", models / "instrumented.onnx", images / "a.png", "-m", "rise")
    assert result.exit_code == 0
    assert "not compared: classes: first 5, 0 in common; second 5, 0 in common" in result.stdout
    assert "not compared: box: first a box head; second none" in result.stdout


def test_a_method_that_one_file_does_not_allow_is_named_and_the_others_are_compared(
    run: RunCommand, models: Path, images: Path
) -> None:
    words = ("-m", "cam", "-m", "rise", "--masks", 20)
    tree = compared(run, models / "explainable.onnx", models / "plain.onnx", images / "a.png", *words)
    named = [each for each in tree["differences"] if each["aspect"] == "method"]
    assert [(each["first"], each["compared"]) for each in named] == [("cam", False)]
    assert {each["method"] for image in tree["images"] for each in image["maps"]} <= {"rise"}
    swapped = compared(run, models / "plain.onnx", models / "explainable.onnx", images / "a.png", *words)
    named = [each for each in swapped["differences"] if each["aspect"] == "method"]
    assert [(each["second"], each["compared"]) for each in named] == [("cam", False)]


def test_without_a_method_both_files_get_one_that_both_allow(run: RunCommand, models: Path, images: Path) -> None:
    """Of conv.onnx that is grad-cam; plain.onnx has no layer, so both are explained by rise."""
    for words in [(models / "conv.onnx", models / "plain.onnx"), (models / "plain.onnx", models / "conv.onnx")]:
        tree = compared(run, *words, images / "a.png")
        assert [each["method"] for each in tree["methods"]] == ["rise"]
        assert {each["aspect"] for each in tree["differences"]} <= {"input size", "preprocessing", "classes"}


@pytest.mark.filterwarnings("ignore")
def test_a_file_with_attention_is_compared_by_grad_cam_with_one_without(
    run: RunCommand, images: Path, tmp_path: Path
) -> None:
    plain = export(make_transformer(), tmp_path / "plain.onnx", batch="dynamic")
    for name, layers in (("both", ["auto", "attention"]), ("map", ["auto"])):
        instrument(plain, tmp_path / f"{name}.onnx", layers=layers, preprocessing=PREPROCESSING)
    for names, method in (("both both", "grad-x-attention"), ("both map", "grad-cam")):
        tree = compared(run, *(tmp_path / f"{name}.onnx" for name in names.split()), images / "a.png")
        assert [each["method"] for each in tree["methods"]] == [method]


def test_boxes_of_two_heads_and_targets(run: RunCommand, models: Path, images: Path, tmp_path: Path) -> None:
    ExplainableModel().write(tmp_path / "again.onnx")
    words = (images / "a.png", "-m", "hires-cam", "--target", "one", "--target", "zero")
    tree = compared(run, models / "explainable.onnx", tmp_path / "again.onnx", *words)
    (image,) = tree["images"]
    assert image["box_iou"] in (1.0, 0.0)
    assert [each["target"] for each in image["maps"]] == ["one", "zero"]


def test_an_image_that_cannot_be_read(run: RunCommand, models: Path, images: Path) -> None:
    (images / "broken.png").write_text("no image")
    file = models / "conv.onnx"
    tree = compared(run, file, file, images, exit_code=1)
    assert [image["image"] for image in tree["images"] if "error" in image] == [str(images / "broken.png")]
    assert tree["images"][0]["error"]


def test_the_report_shows_both_files_side_by_side(run: RunCommand, models: Path, images: Path, tmp_path: Path) -> None:
    def raise_one(weights: np.ndarray) -> None:
        weights[1, 2] += 8

    other = change_weight(models / "conv.onnx", tmp_path / "other.onnx", "weights", raise_one)
    (images / "broken.png").write_text("no image")
    page = tmp_path / "page.html"
    result = run("compare", models / "conv.onnx", other, images, *METHODS, "--report", page)
    assert result.exit_code == 1
    assert result.stdout.endswith(f"Report: {page}\n")
    data = data_of(page)
    assert data["runs"] == ["conv.onnx", "other.onnx"]
    assert len(data["images"]) == 4
    details = [detail for detail in data["details"] if "maps" in detail]
    assert [[each["run"] for each in detail["maps"]] for detail in details] == [[0, 0, 1, 1]] * 3
    assert all(detail["remarks"][-1][0] == "score, second − first" for detail in details)
    text = page.read_text(encoding="utf-8")
    assert "Drift of the maps" in text and "images 3, maps 6, errors 1" in text
    assert any("models disagree" in image["concerns"] for image in data["images"])


def test_what_cannot_be_compared_at_all(run: RunCommand, models: Path, images: Path, tmp_path: Path) -> None:
    file = models / "conv.onnx"
    (tmp_path / "text.onnx").write_text("no model")
    for words, says in [
        ((file, tmp_path / "none.onnx", images), "none.onnx"),
        ((tmp_path / "text.onnx", file, images), "text.onnx"),
        ((file, file, images, "-m", "nothing"), "nothing"),
        ((file, file, images, "-m", "grad-cam", "--masks", 3), "masks"),
        ((file, file, images, "--target", "nothing"), "nothing"),
        ((file, file), "IMAGE"),
    ]:
        result = run("compare", *words)
        assert result.exit_code == 2, words
        assert says in result.stderr.splitlines()[-1], result.stderr
        assert result.stderr.count("onnxplain: ") == len(result.stderr.splitlines())


def test_a_copy_of_a_real_network_with_one_weight_changed(run: RunCommand, assets: Path, tmp_path: Path) -> None:
    source = assets / "models" / "mobilenet_v1_0.25_128_float.onnx"
    model = onnx.load(source)
    constant = max(
        (each for each in model.graph.initializer if len(each.dims) == 4 and each.dims[0] != 1001),
        key=lambda each: each.dims[1],
    )

    def change(values: np.ndarray) -> None:
        values.flat[int(np.abs(values).argmax())] *= -4

    other = change_weight(source, tmp_path / "other.onnx", constant.name, change)
    words = (source, other, assets / "images" / "coral_owl.jpg", "-m", "grad-cam")
    tree = compared(run, *words)
    (summary,) = tree["methods"]
    assert summary["beyond_noise"] == 1 and summary["worst_correlation"] < 1
    assert compared(run, source, source, words[2], "-m", "grad-cam")["methods"][0]["beyond_noise"] == 0


def test_the_float_file_against_its_quantized_sibling(run: RunCommand, assets: Path) -> None:
    """Two widths and input sizes of one network: all is compared, and what differs is named."""
    models = assets / "models"
    files = models / "mobilenet_v1_0.25_128_float.onnx", models / "mobilenet_v1_0.5_160_qdq.onnx"
    tree = compared(run, *files, assets / "images" / "coral_bird.bmp", "-m", "grad-cam")
    assert {each["aspect"] for each in tree["differences"]} == {"input size", "preprocessing", "layer"}
    (image,) = tree["images"]
    assert image["maps"][0]["statuses"] == ["ok", "ok"] and image["maps"][0]["correlation"] > 0
    assert image["changed"] is False
