"""Maps of boxes: hires-cam and layer-cam against gradients of torch, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `torch` is not installed")

import torch
from PIL import Image
from torch.nn import functional

from onnxplain import Engine, explain
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import HiResCAM, LayerCAM, build, supported
from onnxplain.explanations.open_model import open_model
from onnxplain.explanations.open_options import OpenOptions
from tests.cli.conftest import RunCommand
from tests.detectors.gradients.files import Instrumented, gradients_of_torch, instrument_network
from tests.detectors.gradients.networks import NETWORKS

POOLED = ("cam", "grad-cam", "grad-cam++", "xgrad-cam", "finer-cam", "smooth-grad-cam++", "augmented-grad-cam")
FORMULAS = {
    HiResCAM: lambda gradients, maps: (gradients * maps).sum(0),
    LayerCAM: lambda gradients, maps: (gradients.clip(0) * maps).sum(0),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Instrumented:
    return instrument_network(NETWORKS["yolox"], tmp_path_factory.mktemp("maps"), labels=["ant", "bee", "cat"])


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (64, 96, 3), np.uint8)


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("side", ["", ":x1", ":y2"])
def test_maps_are_the_formula_on_gradients_of_torch(
    made: Instrumented, photo: np.ndarray, method: type[HiResCAM], side: str
) -> None:
    """Each level's map divided by its maximum, enlarged to the finest; the largest of them in each cell."""
    engine = made.engine
    detector, pixels = engine.spec.detector, engine.preprocess(photo)
    assert detector is not None
    (found,) = engine.detect(photo)
    # Of the finest level, which sees the others through the neck.
    chosen = next(found[row] for row in range(len(found)) if found[row].candidate < 96)
    target = chosen.name + side
    column = chosen.class_id if not side else 3 + ("x1", "y1", "x2", "y2").index(side[1:])
    levels = gradients_of_torch(made.network, pixels, [(chosen.candidate, column)])
    names, expected = [], []
    for maps, (gradients,) in levels:
        features = {layer.name: engine.run(pixels, [layer.features])[0][0] for layer in engine.spec.layers}
        names += [n for n, f in features.items() if f.shape == maps.shape and np.allclose(f, maps, atol=1e-3)]
        if gradients.any():
            own = torch.from_numpy(FORMULAS[method](gradients, maps)).clip(0)
            large = functional.interpolate(own[None, None] / own.max().clip(1e-30), (8, 12), mode="bilinear")
            expected.append(large[0, 0].numpy())
    assert len(expected) > 1
    explanation = method(engine, layer=names)(photo, target)
    np.testing.assert_allclose(explanation.raw, np.maximum.reduce(expected), atol=2e-4)
    assert explanation.target == detector.target(chosen.candidate, column)
    assert explanation.target_name == target and explanation.detection is not None
    assert (explanation.detection.side or "") == side[1:]


def test_all_layers_are_looked_at_and_those_that_see_the_box_are_named(made: Instrumented, photo: np.ndarray) -> None:
    """A candidate of the coarsest level takes nothing from the finer ones."""
    engine = made.engine
    (found,) = engine.detect(photo, min_score=0, iou=1)
    by_candidate = {each.candidate: each for each in (found[row] for row in range(len(found)))}
    fine, coarse = by_candidate[min(by_candidate)], by_candidate[max(by_candidate)]
    names = [layer.name for layer in engine.spec.layers]
    seen = [set(each.layer.split(", ")) for each in HiResCAM(engine).for_targets(photo, [fine, coarse])]
    assert seen[0] == set(names) and seen[1] < seen[0]
    (one,) = HiResCAM(engine, layer=names[-1]).for_targets(photo, [fine])
    assert one.layer == names[-1] and one.raw.shape == engine.spec.layers[-1].size_hw
    assert one.raw.min() <= 0 < one.raw.max()


def test_targets_at_once_are_those_one_by_one(made: Instrumented, photo: np.ndarray) -> None:
    explainer = HiResCAM(made.engine)
    together = explainer.for_targets(photo, ["all"])
    (found,) = made.engine.detect(photo)
    assert [each.target_name for each in together] == [found[row].name for row in range(len(found))]
    assert len(together) > 20
    for row in (0, 19):
        alone = explainer(photo, found[row])
        np.testing.assert_array_equal(alone.raw, together[row].raw)
    pair = explainer([photo, photo[:, ::-1]], ["#1", "#2"])
    assert [each.detection is not None for each in pair] == [True, True]
    np.testing.assert_array_equal(pair[0].raw, together[0].raw)


def test_methods_that_work(made: Instrumented) -> None:
    assert supported(made.engine)[:3] == ("hires-cam", "layer-cam", "rise")


@pytest.mark.parametrize("name", POOLED)
def test_pooled_methods_refuse_a_detector_with_the_reason(made: Instrumented, name: str) -> None:
    message = f"{name}: needs any model with class scores, but the file is a detector (it gives each feature map one "
    with pytest.raises(UnsupportedError, match=re.escape(message)):
        build(name, made.engine)
    plain = f"expected a model with classes for {name} (it gives each feature map one weight"
    with pytest.raises(UnsupportedError, match=f"{re.escape(plain)}.*: use hires-cam, layer-cam, rise, "):
        open_model(made.plain, [name], OpenOptions(detector=made.network.layout, use_cache=False))


BAD = {
    "bird": "similar labels|expected LABEL",
    "ant#900": "found 'ant#900', expected one of",
    "all:x1": "expected the coordinate of one detection",
    "ant:z1": "expected LABEL",
    "box:0": "expected LABEL",
}


@pytest.mark.parametrize("target", BAD)
def test_what_is_no_target(made: Instrumented, photo: np.ndarray, target: str) -> None:
    with pytest.raises(OnnxplainError, match=BAD[target]):
        HiResCAM(made.engine)(photo, target)


def test_more_bad_input(made: Instrumented, photo: np.ndarray) -> None:
    explainer = HiResCAM(made.engine)
    with pytest.raises(OnnxplainError, match="for a detector, expected a detection alone"):
        explainer(photo, "ant", against="bee")
    with pytest.raises(OnnxplainError, match=r"expected one detection per image: use for_targets"):
        explainer([photo], "all")
    with pytest.raises(OnnxplainError, match="layer"):
        HiResCAM(made.engine, layer="nowhere")
    with pytest.raises(UnsupportedError, match="found a detector"):
        made.engine.activations(photo)


def test_a_plain_detector_is_instrumented_on_the_way(made: Instrumented, photo: np.ndarray) -> None:
    """Without a method, hires-cam explains the best detection."""
    explanation = explain(made.plain, photo)
    expected = HiResCAM(made.engine)(photo)
    assert explanation.method == explain(made.engine, photo).method == "hires-cam"
    np.testing.assert_array_equal(explanation.raw, expected.raw)
    with pytest.raises(UnsupportedError, match=r"grad-cam: needs any model with class scores.*: hires-cam, layer-cam"):
        explain(made.plain, photo, "grad-cam")


def test_a_plain_file_has_no_layers(made: Instrumented) -> None:
    with pytest.raises(UnsupportedError, match=r"hires-cam: needs an instrumented layer.*with this file: rise"):
        HiResCAM(Engine(made.plain))


def test_the_command(made: Instrumented, photo: np.ndarray, run: RunCommand, tmp_path: Path) -> None:
    """Without -m, a plain detector is instrumented on the way; each detection and corner has its picture."""
    Image.fromarray(photo).save(tmp_path / "a.png")
    out, model = tmp_path / "out", ("--detector", made.network.layout)
    words = ("--target", "#1", "--target", "#1:x2", "--min-score", 0.3)
    result = run("explain", made.plain, tmp_path / "a.png", "-o", out, *model, *words)
    assert result.exit_code == 0, result.stderr
    entries = [json.loads(line) for line in (out / "explanations.jsonl").read_text(encoding="utf-8").splitlines()]
    (best,) = [made.engine.detect(photo)[0][0]]
    names = [f"{best.class_id}#1", f"{best.class_id}#1:x2"]
    assert [(entry["method"], entry["target"]) for entry in entries] == [("hires-cam", name) for name in names]
    assert all(entry["detection"]["candidate"] == best.candidate for entry in entries)
    expected = HiResCAM(made.engine).for_targets(photo, ["#1", "#1:x2"])
    for entry, each in zip(entries, expected, strict=True):
        assert entry["layer"] == each.layer and (out / entry["overlay"]).exists()
        np.testing.assert_array_equal(np.load(out / entry["raw"]), each.raw)
    again = run("verify", out)
    assert again.exit_code == 0, again.output


def test_what_inspect_and_instrument_say(made: Instrumented, run: RunCommand, tmp_path: Path) -> None:
    shown = run("inspect", made.report.path).stdout
    assert "hires-cam, layer-cam, rise" in shown
    assert "the file is a detector (it gives each feature map one weight" in shown
    listed = run("inspect", made.plain, "--layers", "--detector", made.network.layout, "--json")
    chosen = [each["name"] for each in json.loads(listed.stdout)["candidates"] if each["chosen"]]
    assert chosen == [layer.name for layer in made.report.spec.layers]
    result = run("instrument", made.plain, "-o", tmp_path / "out.onnx", "--detector", "yolox", "--head", "output0:box")
    assert result.exit_code == 2
    assert "expected one of both: a detector has no heads" in result.stderr
    result = run("instrument", made.plain, "-o", tmp_path / "out.onnx", "--detector", "yolox", "--layer", "nowhere")
    assert result.exit_code == 2
    assert "'nowhere'" in result.stderr and result.stderr.count("\n") == 1
