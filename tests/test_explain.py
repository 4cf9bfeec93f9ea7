"""The one-call interface, on a model whose heatmap is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

import onnxplain
from tests.models import WEIGHTS, ExplainableModel


@pytest.mark.parametrize("as_engine", [False, True])
def test_explain_in_one_call(tmp_path, as_engine):
    path = ExplainableModel().write(tmp_path / "model.onnx")
    engine = onnxplain.Engine(path)
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    explanation = onnxplain.explain(engine if as_engine else path, image, method="cam", target="one")
    features = engine.activations(image, gradients=False).features[0]
    np.testing.assert_allclose(explanation.raw, np.tensordot(WEIGHTS[1], features, axes=1), rtol=1e-4)
    assert explanation.heatmap.shape == (12, 16)


def test_explain_passes_options_on(tmp_path):
    path = ExplainableModel().write(tmp_path / "model.onnx")
    image = np.zeros((6, 8, 3), np.uint8)
    explanation = onnxplain.explain(path, image, layer="fine")
    assert (explanation.method, explanation.layer) == ("grad-cam", "fine")
    with pytest.raises(onnxplain.OnnxplainError, match="found 'no-cam'"):
        onnxplain.explain(path, image, method="no-cam")
