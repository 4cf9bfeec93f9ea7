"""What every method promises, for every row of the table of methods."""

from __future__ import annotations

import re

import numpy as np
import pytest

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explainers import METHODS, Explanation, build, explain, supported
from tests.explainers.tiny_model import LABELS, LAYER, MakeModel

OPTIONS = {
    "rise": {"masks": 24},
    "smooth-grad-cam++": {"samples": 3},
    "augmented-grad-cam": {"copies": 6},
    "score-cam": {"maps": 3},
    "occlusion": {"window": 0.5},
    "shap": {"players": "grid", "cells": 9, "evaluations": 30},
    "lime": {"players": "grid", "cells": 9, "evaluations": 30},
    "sobol": {"cells": 9, "evaluations": 30},
    "hsic": {"cells": 9, "evaluations": 30},
    "aise": {"evaluations": 31},
    "integrated-gradients": {"steps": 3},
    **{name: {"samples": 3} for name in ("smooth-grad", "var-grad", "grad-shap")},
}
EVALUATIONS = {
    "rise": 25,
    "augmented-grad-cam": 7,
    "smooth-grad-cam++": 4,
    "finer-cam": 4,
    "score-cam": 5,
    "ablation-cam": 7,
    "recipro-cam": 50,
    "lime": 30,
    "hsic": 30,
    "aise": 31,
    "integrated-gradients": 6,
    "smooth-grad": 4,
    "var-grad": 4,
    "grad-shap": 6,
}
# How many depends on what the model sees of the image: what they planned before, they do.
BY_IMAGE = {"occlusion", "shap", "sobol"}
NEED_NO_LAYER = {"rise", "occlusion", "shap", "lime", "sobol", "hsic", "aise"}
NEED_A_LINEAR_HEAD = {"cam"}
NEED_THE_INPUT = {"saliency", "input-x-gradient", "integrated-gradients", "smooth-grad", "var-grad", "grad-shap"}
NEED_ATTENTION = {"attention-rollout", "grad-x-attention", "legrad"}
NEED_ASKING = NEED_THE_INPUT | NEED_ATTENTION
SHAPES = [(24, 32), (61, 35), (1, 50), (50, 1), (300, 200)]


def photo(size_hw: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(size_hw[0]).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size_hw", SHAPES, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_a_heatmap_is_float32_in_the_unit_interval_and_as_large_as_its_image(
    make_model: MakeModel, name: str, size_hw: tuple[int, int], resize
) -> None:
    engine = make_model(preprocessing=Preprocessing(mean=(128,) * 3, std=(64,) * 3, resize=resize), pixels=True).engine
    explainer = build(name, engine, **OPTIONS.get(name, {}))
    image = photo(size_hw)
    explanation = explainer(image, "cat")
    assert explanation.heatmap.dtype == np.float32
    assert explanation.heatmap.shape == size_hw
    assert np.isfinite(explanation.heatmap).all()
    assert explanation.heatmap.min() >= 0
    assert explanation.heatmap.max() == (1 if explanation.status == "ok" else 0)
    assert explanation.raw.dtype == np.float32
    assert explanation.raw.ndim == 2
    assert (explanation.method, explanation.target, explanation.target_name) == (name, 2, "cat")
    assert explanation.label == "cat"
    assert explanation.score == pytest.approx(explanation.prediction.scores[2])
    assert explanation.frame.image_size_hw == size_hw
    planned = 1 + explanation.report.planned if name in BY_IMAGE else EVALUATIONS.get(name, 1)
    assert explanation.evaluations == planned
    passes = explainer.passes
    assert passes is not None
    # What is known before the image is exact where the image fills the model's input.
    assert passes.evaluations == planned or (name in BY_IMAGE and resize == "letterbox")
    overlay = explanation.overlay(image)
    assert (overlay.dtype, overlay.shape) == (np.uint8, image.shape)
    again = build(name, engine, **OPTIONS.get(name, {}))(image, "cat")
    np.testing.assert_array_equal(again.heatmap, explanation.heatmap)


@pytest.mark.parametrize("name", METHODS)
def test_one_image_gives_one_explanation_and_a_list_a_list(make_model: MakeModel, name: str) -> None:
    explainer = build(name, make_model(pixels=True).engine, **OPTIONS.get(name, {}))
    assert isinstance(explainer(photo((9, 9))), Explanation)
    explanations = explainer((photo((9, 9)), photo((30, 20))))
    assert [explanation.heatmap.shape for explanation in explanations] == [(9, 9), (30, 20)]
    with pytest.raises(OnnxplainError, match="images: found an empty list"):
        explainer([])


@pytest.mark.parametrize("name", METHODS)
def test_every_row_names_its_class_its_need_and_its_options(name: str) -> None:
    method = METHODS[name]
    assert method.explainer.name == name
    assert method.needs.what
    assert method.summary
    assert "engine" not in method.options
    assert "score_function" not in method.options


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ({"pixels": True}, set(METHODS)),
        ({}, set(METHODS) - NEED_ASKING),
        ({"power": 2, "pixels": True}, set(METHODS) - NEED_A_LINEAR_HEAD),
        ({"instrumented": False}, NEED_NO_LAYER),
    ],
)
def test_supported_methods_can_be_built_and_others_name_those(make_model: MakeModel, model: dict, names) -> None:
    engine = make_model(**model).engine
    working = tuple(name for name in METHODS if name in names)
    assert supported(engine) == working
    for name in METHODS:
        if name in names:
            build(name, engine)
        else:
            with pytest.raises(
                UnsupportedError, match=rf"^{re.escape(name)}: needs .*: {re.escape(', '.join(working))}$"
            ):
                build(name, engine)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "gradcam",
            {},
            rf"^method: found 'gradcam' \(did you mean grad-cam\?\), expected one of {re.escape(', '.join(METHODS))}$",
        ),
        ("lottery", {}, "^method: found 'lottery', expected one of cam"),
        ("grad-cam", {"masks": 3}, "^grad-cam: found option masks, expected one of layer, test_time$"),
        ("rise", {"layer": "x", "steps": 3}, "^rise: found option layer, steps, expected one of .*masks"),
    ],
)
def test_unknown_methods_and_options_are_refused_by_name(
    make_model: MakeModel, name: str, options: dict, message: str
) -> None:
    with pytest.raises(OnnxplainError, match=message):
        build(name, make_model().engine, **options)


def test_explain_takes_an_engine_or_the_path_of_a_file(make_model: MakeModel) -> None:
    engine = make_model().engine
    image = photo((30, 20))
    for model in (engine, engine.path, str(engine.path)):
        explanation = explain(model, image, target="dog")
        assert (explanation.method, explanation.label, explanation.layer) == ("grad-cam", LABELS[3], LAYER)
    assert explain(engine, [image, image], "rise", masks=3)[1].evaluations == 4
