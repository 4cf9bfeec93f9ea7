"""A list of targets for one image: one explanation each, the same as one at a time, from few forward passes."""

from __future__ import annotations

import numpy as np
import pytest

from onnxplain import explain
from onnxplain.contract import PRESETS
from onnxplain.errors import OnnxplainError
from onnxplain.explainers import METHODS, FinerCAM, GradCAM, build
from onnxplain.exporters import instrument
from onnxplain.runtime.engine import Engine
from tests.explainers.test_contract_of_methods import NEED_ATTENTION
from tests.explainers.test_contract_of_methods import OPTIONS as CONTRACT_OPTIONS
from tests.exporters.onnx_models import plain_model, save

PHOTO = np.random.default_rng(3).integers(0, 256, (40, 30, 3), np.uint8)
TARGETS = [3, None, 0, 3]
LABELS = ("ant", "bee", "cat", "dog", "eel")
# Their random copies make a run of all methods slow otherwise.
OPTIONS = {**CONTRACT_OPTIONS, "score-cam": {}}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("model")
    plain = save(plain_model(), folder / "plain.onnx")
    preset = PRESETS["imagenet"]
    instrument(plain, folder / "out.onnx", layers=("input", "early", "late"), preprocessing=preset, labels=LABELS)
    return Engine(folder / "out.onnx", threads=1)


def count_runs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Targets of each run: -1 stands for none."""
    counted: list[int] = []
    run = engine.run

    def count(batch: np.ndarray, names: list[str], target: np.ndarray | None = None, explain: str | None = None):
        counted.append(-1 if target is None else len(target))
        return run(batch, names, target, explain)

    monkeypatch.setattr(engine, "run", count)
    return counted


@pytest.mark.parametrize("method", [name for name in METHODS if name not in NEED_ATTENTION])
def test_a_list_of_targets_gives_a_list(engine: Engine, method: str) -> None:
    explainer = build(method, engine, **OPTIONS.get(method, {}))
    together = explainer(PHOTO, TARGETS)
    assert isinstance(together, list)
    for explanation, target in zip(together, TARGETS, strict=True):
        alone = explainer(PHOTO, target)
        assert (explanation.target, explanation.status) == (alone.target, alone.status)
        np.testing.assert_allclose(explanation.raw, alone.raw, rtol=1e-4, atol=1e-5 * np.abs(alone.raw).max())
    (only,) = explainer(PHOTO, ["dog"])
    assert only.target_name == "dog"


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++", "xgrad-cam", "hires-cam", "layer-cam", "eigen-grad-cam"])
def test_one_forward_pass_per_layer(engine: Engine, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = count_runs(engine, monkeypatch)
    build(method, engine, layer="early")(PHOTO, TARGETS)
    assert runs == [len(TARGETS)]


def test_finer_cam_differentiates_all_references_in_one_pass(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = count_runs(engine, monkeypatch)
    FinerCAM(engine, layer="early", references=3)(PHOTO, "dog")
    assert runs == [1, 3]
    runs.clear()
    FinerCAM(engine, layer="early", references=3)(PHOTO, ["dog", "cat"])
    assert (len(runs), runs[0]) == (2, 2)
    assert 3 <= runs[1] <= len(LABELS)


def test_more_targets_than_a_run_takes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = count_runs(engine, monkeypatch)
    explanations = GradCAM(engine, layer="early")(PHOTO, [0, 1, 2, 3, 4] * 8)
    assert (len(explanations), runs) == (40, [32, 8])
    np.testing.assert_allclose(explanations[35].raw, explanations[0].raw, rtol=1e-6)


def test_explain_takes_a_list(engine: Engine) -> None:
    found = explain(engine, PHOTO, "hires-cam", target=["dog", "cat"])
    assert [explanation.target_name for explanation in found] == ["dog", "cat"]


def test_an_empty_list_is_refused(engine: Engine) -> None:
    with pytest.raises(OnnxplainError, match="target: found an empty list, expected at least one target"):
        GradCAM(engine)(PHOTO, [])
    with pytest.raises(OnnxplainError, match="found 2 targets for 1 images"):
        GradCAM(engine)([PHOTO], ["dog", "cat"])
