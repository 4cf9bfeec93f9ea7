"""`onnxplain explain` on detectors: files, lines, pictures, and images on which a target is not found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from onnxplain import Engine, explain
from onnxplain.cli.main import INTERRUPTED
from onnxplain.explainers import RISE
from onnxplain.explainers.masked.masked_scores import MaskedScores
from tests.cli.conftest import RunCommand
from tests.detectors.seeing import BLOBS, UNIT, boxes_of_cells, open_ordering, open_suppressing, photo_of_blobs

OPTIONS = ("--masks", 70, "--scale", 1 / 255, "--resize", "stretch", "--mean", 0, "--std", 1, "--channels", "rgb")
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
MODELS = {"torchvision": open_suppressing, "end2end": open_ordering}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    MODELS[request.param](tmp_path / "model.onnx")
    return tmp_path / "model.onnx", request.param


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.png has three detections, b.png has none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photo_of_blobs()).save(folder / "a.png")
    Image.fromarray(photo_of_blobs() // 5).save(folder / "b.png")
    return folder


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "explanations.jsonl").read_text(encoding="utf-8").splitlines()]


def asked(model: tuple[Path, str], images: Path, out: Path, *words) -> list:
    return ["explain", model[0], images, "-o", out, "--detector", model[1], *OPTIONS, *words]


def test_all_detections(run: RunCommand, model: tuple[Path, str], photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(*asked(model, photos / "a.png", out, "--target", "all"))
    assert result.exit_code == 0, result.stderr
    # Neither has a gradient: one by its layout, the other has no weights.
    because = f"onnxplain: warning: {model[0]}: explained with rise, because the file cannot be instrumented: "
    assert result.stderr.startswith(because) and result.stderr.count("\n") == 1
    assert [row.split("  ")[1] for row in result.stdout.splitlines()] == [
        "rise of 1#1",
        "rise of 2#1",
        "rise of 1#2",
        "all side by side",
    ]
    engine = Engine(model[0], preprocessing=UNIT, detector=model[1])
    expected = RISE(engine, masks=70).for_targets(photos / "a.png", ["all"])
    for entry, each in zip(lines(out), expected, strict=True):
        assert entry["target"] == each.target_name
        assert entry["detection"] == each.detection.as_json()
        assert (entry["method"], entry["explain_output"], entry["evaluations"]) == ("rise", "detection", 71)
        assert entry["score"] == pytest.approx(each.score)
        np.testing.assert_array_equal(np.load(out / entry["heatmap"]), each.heatmap)
    assert sorted(path.name for path in out.glob("*.png")) == [
        "a.rise.1-1.png",
        "a.rise.1-2.png",
        "a.rise.2-1.png",
        "a.sheet.png",
    ]


def test_the_detections_box_is_drawn(run: RunCommand, model: tuple[Path, str], photos: Path, tmp_path: Path) -> None:
    result = run(*asked(model, photos / "a.png", tmp_path / "out", "--alpha", 0))
    assert result.exit_code == 0, result.stderr
    best = max(BLOBS, key=lambda cell: BLOBS[cell])
    box = boxes_of_cells()[best].astype(int)
    assert f"box {','.join(map(str, box))}" in result.stdout
    picture = np.asarray(Image.open(tmp_path / "out" / "a.rise.png").convert("L")).astype(int)
    factor, head = picture.shape[1] / 96, int((picture[:, -1] < 50).argmax())
    x1, _, x2, y2 = (round(side * factor) for side in box)
    y2 += head
    (entry,) = lines(tmp_path / "out")
    assert entry["box"] == {"xyxy": box.tolist(), "source": "detection", "doubt": None}
    assert (picture[y2 - 3 : y2 + 4, x1 + 4 : x2 - 4].max(axis=0) > 250).all()


def test_targets_are_found_per_image(run: RunCommand, model: tuple[Path, str], photos: Path, tmp_path: Path) -> None:
    """What is missing is an error of its image; a detection that two targets mean is explained once."""
    out = tmp_path / "out"
    words = ("--target", "2", "--target", "2#2", "--target", "#2", "--target", "20,20")
    result = run(*asked(model, photos, out, *words))
    assert result.exit_code == 1
    found = [(Path(entry["image"]).name, entry.get("target")) for entry in lines(out)]
    assert found == [("a.png", None), ("a.png", "2#1"), ("a.png", "1#1"), ("b.png", None)]
    assert "a.png: target: found '2#2', expected one of #1 1#1 (0.90 at 16,16,32,32); #2 2#1 (0.80 at" in result.stderr
    assert "b.png: found no detection, the best candidate has 0.1" in result.stderr
    assert result.stderr.count("\n") == 3


def test_thresholds_decide_what_is_found(
    run: RunCommand, model: tuple[Path, str], photos: Path, tmp_path: Path
) -> None:
    result = run(*asked(model, photos / "b.png", tmp_path / "out", "--target", "all", "--min-score", 0.15))
    assert result.exit_code == 0, result.stderr
    assert [entry["target"] for entry in lines(tmp_path / "out")] == ["1#1", "2#1"]
    result = run(
        *asked(model, photos / "a.png", tmp_path / "out", "--target", "all", "--min-score", 0.85, "-m", "rise")
    )
    assert result.exit_code == 0, result.stderr
    assert [entry["target"] for entry in lines(tmp_path / "out")] == ["1#1"]
    assert (tmp_path / "out" / "a.rise.1-1.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "thing"], "target: found 'thing', expected LABEL, INDEX"),
        (["--target", "#1:x1"], "the method explains scores, not coordinates"),
        (["--explain-output", "box"], 'explain_output: found "box" for a detector'),
        (["-m", "grad-cam"], "option masks: found for grad-cam"),
        (["-m", "rise", "-m", "cam"], "use hires-cam, layer-cam, rise, "),
        (["--logits", "scores"], "a detector has no heads"),
        (["--layer", "gray"], "; rise "),
    ],
)
def test_what_is_refused_before_the_first_image(
    run: RunCommand, model: tuple[Path, str], photos: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    result = run(*asked(model, photos, tmp_path / "out", *words))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out" / "explanations.jsonl").exists()


def test_thresholds_are_for_detectors(run: RunCommand, models: Path, photos: Path, tmp_path: Path) -> None:
    result = run("explain", models / "explainable.onnx", photos, "-o", tmp_path / "out", "--min-score", 0.3)
    assert result.exit_code == 2
    assert "expected a detector for --min-score" in result.stderr


def test_a_photo_is_never_overwritten(run: RunCommand, model: tuple[Path, str], photos: Path) -> None:
    (photos / "b.png").rename(photos / "a.rise.1-1.png")
    result = run(*asked(model, photos, photos, "--target", "all"))
    assert result.exit_code == 2
    assert "expected no file that the results overwrite" in result.stderr


def test_an_interruption_writes_the_maps_so_far(
    run: RunCommand, model: tuple[Path, str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxplain.explainers.masked.masked_scores import _EngineScores

    calls, call = [], _EngineScores.__call__

    def interrupted(scores: MaskedScores, draw):
        calls.append(draw)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return call(scores, draw)

    monkeypatch.setattr(_EngineScores, "__call__", interrupted)
    result = run(*asked(model, photos / "a.png", tmp_path / "out", "--target", "all"))
    assert result.exit_code == INTERRUPTED
    assert [entry["stopped"] for entry in lines(tmp_path / "out")] == ["interrupted"] * 3


def test_verify_repeats_a_run(run: RunCommand, model: tuple[Path, str], photos: Path, tmp_path: Path) -> None:
    """The detections of an image share masks whose grid depends on all their boxes."""
    out = tmp_path / "out"
    result = run(*asked(model, photos, out, "--target", "#1", "--target", "all"))
    assert result.exit_code == 1, "b.png has no detection"
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["detection"] == {"layout": model[1], "min_score": 0.25, "iou": 0.45}
    for name, written in (("run", [record]), ("explanations", lines(out))):
        schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
        for entry in written:
            jsonschema.validate(entry, schema)
    result = run("verify", out)
    assert result.exit_code == 0, result.output
    changed = np.load(out / "a.rise.2-1.raw.npy")
    np.save(out / "a.rise.2-1.raw.npy", changed + 1)
    result = run("verify", out)
    assert result.exit_code == 1
    assert result.output.count("recorded the same map") == 1


def test_without_the_extra_export(
    run: RunCommand, model: tuple[Path, str], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [key for key in sys.modules if key == "onnxplain.exporters" or key.startswith("onnxplain.exporters.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = run(*asked(model, photos / "a.png", tmp_path / "out"))
    assert (result.exit_code, "-m rise" in result.stderr) == (2, True)
    assert run(*asked(model, photos / "a.png", tmp_path / "out", "-m", "rise")).exit_code == 0


def test_in_one_call(tmp_path: Path, photos: Path) -> None:
    engine = open_ordering(tmp_path / "model.onnx")
    explanation = explain(engine, photos / "a.png", "rise", "#2", masks=16)
    assert (explanation.target_name, explanation.detection.class_id) == ("2#1", 2)
