"""`explain`: the files it writes, what stands in them, and the lines it prints."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxplain import Engine, load_image
from onnxplain.cli.main import INTERRUPTED
from onnxplain.contract import PRESETS
from onnxplain.explainers import (
    CAM,
    LIME,
    METHODS,
    RISE,
    AblationCAM,
    FinerCAM,
    GradCAM,
    HiResCAM,
    KernelSHAP,
    LayerCAM,
    Occlusion,
    ReciproCAM,
    ScoreCAM,
    SmoothGradCAMPlusPlus,
    find_regions,
)
from onnxplain.explainers.rise import rise
from tests.cli.conftest import write_photo

NAMES = [
    # arguments behind model and image folder, files beside explanations.jsonl
    ([], ["a.grad-cam", "b.grad-cam", "c.grad-cam"]),
    (["-m", "cam"], ["a.cam", "b.cam", "c.cam"]),
    (["--target", "one"], ["a.grad-cam", "b.grad-cam", "c.grad-cam"]),
    (["-m", "cam", "-m", "cam", "--target", "1", "--target", "one"], ["a.cam", "b.cam", "c.cam"]),
]


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def read_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "explanations.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("arguments", "stems"), NAMES)
def test_names(arguments, stems, run, models, images, tmp_path):
    out = tmp_path / "out" / "deep"
    assert run("explain", models / "explainable.onnx", images, "-o", out, *arguments).exit_code == 0
    assert files_in(out) == {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".npy", ".raw.npy")} | {
        "run.json",
        "explanations.jsonl",
    }


def test_several_methods_and_targets(run, models, images, tmp_path):
    out = tmp_path / "out"
    run(
        *("explain", models / "explainable.onnx", images / "a.png", "-o", out),
        *("-m", "cam", "-m", "rise", "--masks", 20, "--target", "one", "--target", "3"),
    )
    stems = [f"a.{method}.{target}" for target in ("one", "3") for method in ("cam", "rise")]
    assert files_in(out) == {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".npy", ".raw.npy")} | {
        "run.json",
        "explanations.jsonl",
        "a.sheet.png",
    }
    entries = read_lines(out)
    assert [(entry["method"], entry["target"], entry["label"]) for entry in entries] == [
        ("cam", 1, "one"),
        ("rise", 1, "one"),
        ("cam", 4, "3"),
        ("rise", 4, "3"),
    ]
    # A photo and two pictures per row, two rows: wider than high, at the 3 × 2 tiles of a 4 : 3 photo.
    height, width = load_image(out / "a.sheet.png").shape[:2]
    assert 1.6 < width / height < 2.1


def test_default_method_and_folder(run, models, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("explain", models / "explainable.onnx", "images/a.png")
    assert files_in(tmp_path / "explanations") == {f"a.grad-cam{suffix}" for suffix in (".png", ".npy", ".raw.npy")} | {
        "explanations.jsonl",
        "run.json",
    }
    assert result.stdout.startswith("images/a.png  grad-cam  ")
    assert result.stdout.rstrip().endswith("a.grad-cam.png")


@pytest.mark.parametrize(
    ("method", "options", "explainer"),
    [
        ("cam", [], lambda engine: CAM(engine)),
        ("grad-cam", ["--layer", "conv"], lambda engine: GradCAM(engine, layer="convolved")),
        ("layer-cam", ["--layer", "map", "--layer", "conv"], lambda engine: LayerCAM(engine, ["convolved", "map"])),
        ("hires-cam", ["--layer", "all"], lambda engine: HiResCAM(engine, "all")),
        (
            "smooth-grad-cam++",
            ["--samples", "3", "--noise", "0.3", "--seed", "5"],
            lambda engine: SmoothGradCAMPlusPlus(engine, samples=3, noise=0.3, seed=5),
        ),
        (
            "finer-cam",
            ["--references", "2", "--strength", "0.9"],
            lambda engine: FinerCAM(engine, references=2, strength=0.9),
        ),
        ("score-cam", ["--maps", "2", "--batch-size", "1"], lambda engine: ScoreCAM(engine, maps=2)),
        ("ablation-cam", [], lambda engine: AblationCAM(engine)),
        ("recipro-cam", ["--gaussian"], lambda engine: ReciproCAM(engine, gaussian=True)),
        (
            "rise",
            ["--masks", "30", "--seed", "5", "--batch-size", "4"],
            lambda engine: RISE(engine, masks=30, seed=5),
        ),
        (
            "rise",
            [
                "--masks",
                "200",
                "--estimator",
                "paper",
                "--tolerance",
                "9",
                "--budget-seconds",
                "99",
                "--fill",
                "9,0,2.5",
            ],
            lambda engine: RISE(engine, masks=128, estimator="paper", tolerance=9, fill=(9, 0, 2.5)),
        ),
        (
            "rise",
            ["--masks", "30", "--fill", "blur", "--explain-output", "score"],
            lambda engine: RISE(engine, masks=30, fill="blur"),
        ),
        (
            "shap",
            ["--evaluations", "40", "--players", "grid", "--cells", "9", "--sampling", "leverage", "--seed", "2"],
            lambda engine: KernelSHAP(engine, evaluations=40, players="grid", cells=9, sampling="leverage", seed=2),
        ),
        (
            "lime",
            ["--evaluations", "40", "--players", "quadtree", "--cells", "9", "--fit", "lasso", "--features", "4"],
            lambda engine: LIME(engine, evaluations=40, players="quadtree", cells=9, fit="lasso", features=4),
        ),
        (
            "occlusion",
            ["--window", "0.5", "--stride", "0.25", "--fill", "inpaint"],
            lambda engine: Occlusion(engine, window=0.5, stride=0.25, fill="inpaint"),
        ),
    ],
)
def test_results_are_those_of_the_library(method, options, explainer, run, models, images, tmp_path):
    out, source = tmp_path / "out", images / "b.jpg"
    # Batches of a size that timing chose round the scores differently.
    timed = "batch_size" in METHODS[method].options and "--batch-size" not in options
    options = [*options, *(["--batch-size", "8"] if timed else [])]
    run("explain", models / "instrumented.onnx", source, "-o", out, "-m", method, "--target", "w", *options)
    engine = Engine(models / "instrumented.onnx")
    built = explainer(engine)
    expected = (replace(built, batch_size=8) if timed else built)(source, "w")
    heatmap = np.load(out / f"b.{method}.npy")
    assert heatmap.dtype == np.float32
    np.testing.assert_array_equal(heatmap, expected.heatmap)
    (entry,) = read_lines(out)
    boxes = entry.pop("boxes")
    assert entry.pop("seconds") > 0
    frame, map_frame = entry.pop("frame"), entry.pop("map_frame")
    assert (frame["scale_xy"], frame["offset_xy"]) == (list(expected.frame.scale_xy), list(expected.frame.offset_xy))
    assert (map_frame is None) == (expected.map_frame is None)
    np.testing.assert_array_equal(np.load(out / entry["raw"]), expected.raw)
    prediction = engine.predict(source)[0]
    best = [
        {"class_id": index, "label": label, "score": pytest.approx(score)} for index, label, score in prediction.top(5)
    ]
    assert entry.pop("box")["xyxy"] == boxes[0]["xyxy"]
    (answer,) = entry.pop("answers")
    assert (answer["head"], answer["kind"]) == (expected.head, "classes")
    assert [each["label"] for each in answer["top"]] == [each["label"] for each in best]
    record = json.loads((out / "run.json").read_text())
    assert entry.pop("options") == record["questions"][0]["options"]
    assert entry == {
        "run": record["id"],
        "image": "../images/b.jpg",
        "image_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "image_size_hw": list(expected.frame.image_size_hw),
        "predicted": prediction.class_id,
        "top": best,
        "unit": expected.unit,
        "detection": None,
        "uses_target": expected.uses_target,
        "heat_from_zero": expected.heat_from_zero,
        "raw": f"b.{method}.raw.npy",
        "method": method,
        "target": 1,
        "target_name": "w",
        "head": "logits",
        "label": "w",
        "score": pytest.approx(expected.score),
        "status": "ok",
        "level": pytest.approx(expected.boxes().level),
        "evaluations": expected.evaluations,
        "layer": expected.layer,
        "heatmap": f"b.{method}.npy",
        "overlay": f"b.{method}.png",
        **(expected.report.as_json() if expected.report else {}),
    }
    regions = expected.boxes()
    np.testing.assert_array_equal([box["xyxy"] for box in boxes], regions.xyxy)
    assert [box["area"] for box in boxes] == regions.area.tolist()


def test_the_box_as_what_is_explained(run, models, images, tmp_path):
    out = tmp_path / "out"
    options = ["-m", "rise", "--masks", 40, "--explain-output", "box"]
    result = run("explain", models / "explainable.onnx", images / "a.png", "-o", out, *options)
    assert result.exit_code == 0, result.stderr
    (entry,) = read_lines(out)
    assert entry["explain_output"] == "box"
    assert f"of box of {entry['label']}" in result.stdout
    expected = RISE(Engine(models / "explainable.onnx"), masks=40, explain_output="box")(images / "a.png")
    np.testing.assert_array_equal(np.load(out / "a.rise.npy"), expected.heatmap)


def test_a_target_without_a_log_linear_model_is_told(run, models, images, tmp_path):
    options = ["-m", "rise", "--masks", 64, "--estimator", "log-linear", "--target", "one", "--against", "3"]
    result = run("explain", models / "explainable.onnx", images / "a.png", "-o", tmp_path, *options)
    assert result.exit_code == 0, result.stderr
    assert "(64 masks, no log-linear model: a difference may be negative)" in result.stdout
    (entry,) = read_lines(tmp_path)
    assert (entry["estimator"], entry["no_model"], entry["shrunk_error"]) == ("log-linear", "difference", None)


def test_an_interruption_writes_the_map_so_far_and_ends_the_run(run, models, images, tmp_path, monkeypatch):
    open_masked_scores = rise.open_masked_scores

    def open_and_interrupt(*arguments):
        scores, calls = open_masked_scores(*arguments), []

        def interrupted(draw):
            calls.append(draw)
            if len(calls) > 2:
                raise KeyboardInterrupt
            return scores(draw)

        interrupted.unmasked, interrupted.masks_at_once = scores.unmasked, scores.masks_at_once
        return interrupted

    monkeypatch.setattr(rise, "open_masked_scores", open_and_interrupt)
    out = tmp_path / "out"
    result = run(
        *("explain", models / "explainable.onnx", images, "-o", out, "-m", "cam", "-m", "rise", "-m", "grad-cam"),
        *("--batch-size", 10, "--target", "one", "--target", "3"),
    )
    assert result.exit_code == INTERRUPTED
    assert result.stderr == f"onnxplain: interrupted: {out} contains the results so far\n"
    assert "(20 masks, interrupted)" in result.stdout
    entries = read_lines(out)
    assert [(entry["method"], entry["target"]) for entry in entries] == [
        ("cam", 1),
        ("rise", 1),
        ("cam", 4),
        ("rise", 4),
    ]
    assert [entry.get("stopped") for entry in entries] == [None, "interrupted"] * 2
    assert all((out / entry["overlay"]).exists() for entry in entries)
    assert (out / "a.sheet.png").exists()
    assert not list(out.glob("b.*"))


def test_box_target(run, models, images, tmp_path):
    out = tmp_path / "out"
    result = run("explain", models / "explainable.onnx", images / "a.png", "-o", out, "--target", "box:2")
    assert result.exit_code == 0, result.stderr
    (entry,) = read_lines(out)
    assert entry["target"] == "box:2"
    assert entry["label"] == Engine(models / "explainable.onnx").predict(images / "a.png")[0].label


def test_threshold_cuts_the_boxes(run, models, images, tmp_path):
    areas = []
    for threshold in (0.1, 0.9):
        out = tmp_path / str(threshold)
        run("explain", models / "explainable.onnx", images / "a.png", "-o", out, "--threshold", threshold)
        areas.append(sum(box["area"] for box in read_lines(out)[0]["boxes"]))
    assert areas[0] > areas[1] > 0


def test_the_stable_threshold_is_found_for_each_image(run, models, images, tmp_path):
    run("explain", models / "explainable.onnx", images / "a.png", "-o", tmp_path, "--threshold", "stable")
    (entry,) = read_lines(tmp_path)
    regions = find_regions(np.load(tmp_path / entry["heatmap"]), "stable")
    assert [box["xyxy"] for box in entry["boxes"]] == regions.xyxy.tolist()
    assert entry["level"] == regions.level


def test_equal_stems_are_told_apart(run, models, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    sources = [write_photo(tmp_path / name) for name in ("x/p.png", "y/p.png", "x/P.jpg", "x/p-2.png")]
    out = tmp_path / "out"
    run("explain", models / "explainable.onnx", *sources, "-o", out)
    stems = [Path(entry["heatmap"]).name.removesuffix(".grad-cam.npy") for entry in read_lines(out)]
    assert stems == ["p", "p-2", "P-3", "p-2-2"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["images"], ["a.png", "b.jpg", "c.PNG"]),
        (["images/*.jpg"], ["b.jpg"]),
        (["images/[ab].*"], ["a.png", "b.jpg"]),
        (["**/c.PNG"], ["c.PNG"]),
        (["images/b.jpg", "images", "images/a.png"], ["b.jpg", "a.png", "c.PNG"]),
    ],
)
def test_files_folders_and_patterns(arguments, names, run, models, images, monkeypatch):
    monkeypatch.chdir(images.parent)
    run("explain", models / "explainable.onnx", *arguments, "-o", "out")
    assert [Path(entry["image"]).name for entry in read_lines(Path("out"))] == names


def test_results_are_replaced_by_each_run(run, models, images, tmp_path):
    out = tmp_path / "out"
    run("explain", models / "explainable.onnx", images, "-o", out)
    run("explain", models / "explainable.onnx", images / "a.png", "-o", out)
    assert len(read_lines(out)) == 1


def test_an_input_is_never_overwritten(run, models, tmp_path):
    write_photo(tmp_path / "a.png")
    clash = write_photo(tmp_path / "a.grad-cam.png", seed=1)
    before = clash.read_bytes()
    result = run("explain", models / "explainable.onnx", tmp_path, "-o", tmp_path)
    assert result.exit_code == 2
    assert "expected no file that the results overwrite" in result.stderr
    assert clash.read_bytes() == before


def test_quiet(run, models, images, tmp_path):
    result = run("explain", models / "explainable.onnx", images, "-o", tmp_path / "out", "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert len(read_lines(tmp_path / "out")) == 3


def test_a_plain_file_with_stated_preprocessing(run, models, images, tmp_path):
    out = tmp_path / "out"
    arguments = ["-m", "rise", "--masks", 40, "--preset", "inception", "--resize", "stretch"]
    run("explain", models / "plain.onnx", images / "a.png", "-o", out, *arguments)
    preprocessing = replace(PRESETS["inception"], resize="stretch")
    engine = Engine(models / "plain.onnx", preprocessing=preprocessing)
    np.testing.assert_array_equal(np.load(out / "a.rise.npy"), RISE(engine, masks=40)(images / "a.png").heatmap)


def test_the_picture_is_the_overlay_between_title_and_bar(run, models, tmp_path):
    """Away from the box and its label the picture is the library's overlay."""
    source, out = write_photo(tmp_path / "big.png", (500, 600)), tmp_path / "out"
    run("explain", models / "explainable.onnx", source, "-o", out, "--colormap", "viridis", "--alpha", "0.3")
    engine = Engine(models / "explainable.onnx")
    expected = GradCAM(engine)(source).overlay(source, "viridis", 0.3)
    found = load_image(out / "big.grad-cam.png")
    # A title stands above, a colour bar below.
    tops = range(1, len(found) - 500)
    assert max((found[top : top + 500] == expected).all(axis=2).mean() for top in tops) > 0.8


def test_one_command_explains_a_plain_file(run, models, images, tmp_path):
    """The same map as of the instrumented file; two lines on standard error, also the second time."""
    words = [images / "a.png", "--target", 1, "--layer", "convolved", "--labels", tmp_path / "labels.txt"]
    (tmp_path / "labels.txt").write_text("v\nw\nx\ny\nz\n")
    run("explain", models / "instrumented.onnx", *words[:-2], "-o", tmp_path / "by_hand")
    expected = np.load(tmp_path / "by_hand" / "a.grad-cam.npy")
    for said in ("instrumented in", "instrumented copy from the cache"):
        result = run("explain", models / "conv.onnx", *words, "-o", tmp_path / "out")
        assert result.exit_code == 0
        done, warned = result.stderr.splitlines()
        assert done.startswith(f"onnxplain: {models / 'conv.onnx'}: {said}")
        assert "layer convolved, preprocessing imagenet, crop (assumed)" in done
        assert "warning: parts of the preprocessing are assumed" in warned
        np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.grad-cam.npy"), expected)
    (entry,) = read_lines(tmp_path / "out")
    assert (entry["label"], entry["layer"]) == ("w", "convolved")
    (warned,) = run("explain", models / "conv.onnx", *words, "-o", tmp_path / "out", "--quiet").stderr.splitlines()
    assert "warning: parts of the preprocessing are assumed" in warned
    stated = ["--quiet", "--preset", "imagenet", "--resize", "crop"]
    assert run("explain", models / "conv.onnx", *words, "-o", tmp_path / "out", *stated).stderr == ""


def test_options_of_a_plain_file(run, models, images, tmp_path):
    words = ["explain", models / "conv.onnx", images / "a.png", "-o", tmp_path / "out", "--no-cache"]
    result = run(*words, "--logits", "logits", "--batch", "fixed", "--preset", "caffe", "--resize", "stretch")
    assert result.exit_code == 0
    assert "s, not kept, layer map, preprocessing caffe, stretch (stated)" in result.stderr
    result = run(*words, "-m", "layer-cam", "--layer", "map", "--layer", "1%")
    assert "layers convolved, map" in result.stderr
    assert [entry["layer"] for entry in read_lines(tmp_path / "out")] == ["convolved, map"]


def test_rise_where_a_file_cannot_be_instrumented(run, models, images, tmp_path):
    result = run("explain", models / "plain.onnx", images / "a.png", "-o", tmp_path / "out", "--masks", 20, "--quiet")
    assert (result.exit_code, result.stdout) == (0, "")
    said, warned = result.stderr.splitlines()
    assert "explained with rise, because the file cannot be instrumented: no feature map" in said
    assert "warning: parts of the preprocessing are assumed" in warned
    assert [entry["method"] for entry in read_lines(tmp_path / "out")] == ["rise"]
