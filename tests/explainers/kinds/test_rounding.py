"""A gradient below rounding is no evidence; a small or saturated one is not below rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxplain.explainers import GradCAM, HiResCAM, build
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from tests.explainers.kinds.kind_networks import LAYER, PREPROCESSING, Explained, open_kind, photo

LOGITS = {"1e-6": -13.8, "0.5": 0.0, "0.999": 7.0, "1 - 1e-7": 16.1}


@pytest.mark.parametrize("logit", LOGITS.values(), ids=LOGITS)
@pytest.mark.parametrize("method", ["cam", "grad-cam", "hires-cam", "grad-cam++", "augmented-grad-cam"])
def test_a_saturated_probability_has_the_map_of_its_logit(tmp_path: Path, logit: float, method: str) -> None:
    """The bias moves the logit and nothing else: every map is that of probability 0.5."""
    e = open_kind("one label", tmp_path)
    options = {"copies": 3} if method == "augmented-grad-cam" else {}
    plain = build(method, e.engine, **options)(e.image)
    moved = _changed(tmp_path, "linear.bias", lambda bias: bias + (logit - _logit(e.engine, e)))
    found = build(method, moved, **options)(e.image)
    assert found.status == plain.status
    assert found.status == "ok"
    np.testing.assert_allclose(found.raw, plain.raw, atol=1e-6 * np.abs(plain.raw).max())
    assert found.score == pytest.approx(1 / (1 + np.exp(-_logit(moved, e))), rel=1e-5)


def _logit(engine: Engine, e: Explained) -> float:
    return float(engine.activations(e.image).logits[0, 0])


def _changed(folder: Path, ending: str, change: Callable[[np.ndarray], np.ndarray]) -> Engine:
    """The plain file again with one parameter changed, instrumented and opened."""
    model = onnx.load(folder / "plain.onnx")
    (tensor,) = [each for each in model.graph.initializer if each.name.endswith(ending)]
    array = change(numpy_helper.to_array(tensor)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, folder / "changed.onnx")
    path = folder / "changed explainable.onnx"
    instrument(folder / "changed.onnx", path, preprocessing=PREPROCESSING, layers=[LAYER])
    return Engine(path, threads=1)


def test_a_cosine_of_one_has_no_evidence(tmp_path: Path) -> None:
    """An image that differs from the reference, whose embedding points the same way: what is left is rounding."""
    e = open_kind("embedding", tmp_path)
    activations = e.engine.activations(e.image, gradients=False)
    vector = activations.answers[0][0].vector
    seen = e.engine.activations(e.image, "e", reference=3 * vector)
    assert np.abs(seen.gradients).max() > 0, "no rounding here: the test shows nothing"
    answers = e.engine.answers(e.other)
    object.__setattr__(answers[0][0], "vector", (3 * vector).astype(np.float32))
    original, e.engine.answers = e.engine.answers, lambda images: answers
    try:
        for method in (GradCAM, HiResCAM):
            found = method(e.engine)(e.image, like=e.other)
            assert found.status == "no_positive_evidence"
            assert not found.raw.any()
    finally:
        e.engine.answers = original
    near = np.clip(e.image.astype(int) + np.random.default_rng(0).integers(-2, 3, e.image.shape), 0, 255).astype(
        np.uint8
    )
    found = GradCAM(e.engine)(e.image, like=near)
    assert 0.99 < found.score < 1
    assert found.raw.any(), "an image that is nearly the same still has a gradient"


def test_a_difference_of_equal_entries_has_no_evidence(tmp_path: Path) -> None:
    open_kind("curved classes", tmp_path)
    twins = np.array([1, 1 + 1e-7])[:, None]
    engine = _changed(tmp_path, "head.3.weight", lambda w: np.concatenate([w[:1], w[1] * twins, w[3:]]))
    found = HiResCAM(engine)(photo(1), 1, against=2)
    assert (found.status, bool(found.raw.any())) == ("no_positive_evidence", False)
    assert HiResCAM(engine)(photo(1), 1, against=3).raw.any()
