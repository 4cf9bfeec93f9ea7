"""Explainable files of every kind: the engine shows what the plain file shows, and what is differentiated is y."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxplain.contract import PRESETS, StatedHead
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from onnxplain.runtime.heads.mask_region import region_of
from tests.exporters.heads.graph_ends import end_model
from tests.runtime.heads.test_plain_heads import ONE, PHOTO, ROWS, P, Row, Y, write

NAMES = (
    *("softmax", "log softmax", "percent", "logits and warm softmax", "sigmoid", "one sigmoid", "one number"),
    *("two heads", "a box", "mask", "mask, classes last", "mask by sigmoid", "uint8 sigmoid"),
)
UINT8 = {"uint8 sigmoid": 1 / 256}
PHOTOS = [PHOTO, PHOTO[::-1].copy(), PHOTO[:, :30]]


def both(tmp_path, row):
    """The engine of the plain file, and that of its instrumented copy."""
    path, copy = write(tmp_path, row), tmp_path / "explainable.onnx"
    stated = [StatedHead(name, kind) for name, kind in (text.split(":") for text in row.heads_stated)]
    instrument(path, copy, heads=stated, preprocessing=PRESETS["unit"])
    plain = Engine(path, ["cpu"], 1, preprocessing=PRESETS["unit"], heads=stated)
    return plain, Engine(copy, ["cpu"], 1)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_plain_file(tmp_path, name):
    plain, engine = both(tmp_path, ROWS[name])
    described = [[(head.name, head.kind, head.size) for head in each.spec.heads] for each in (plain, engine)]
    assert described[0] == described[1]
    batch = engine.preprocess(PHOTOS)
    # The copy has logits in float; a plain file may have scores in eight bits alone.
    np.testing.assert_allclose(
        engine.entry_scores(batch), plain.entry_scores(batch), rtol=1e-5, atol=1e-6 + UINT8.get(name, 0)
    )
    seen = engine.activations(PHOTOS)
    np.testing.assert_array_equal(seen.entry_scores, engine.entry_scores(batch))
    np.testing.assert_array_equal(seen.scores, seen.entry_scores[:, : engine.spec.head.entries])
    assert np.isfinite(seen.entries).all()
    for first, second in zip(plain.answers(PHOTOS[0])[0], engine.answers(PHOTOS[0])[0], strict=True):
        assert type(first) is type(second)


def test_the_mean_logit_over_a_region_is_what_is_differentiated(tmp_path):
    _, engine = both(tmp_path, ROWS["mask"])
    batch = engine.prepare(PHOTO)
    region = region_of((5, 5, 30, 20), batch.frames[0], engine.spec.head)
    seen = engine.activations(PHOTO, 2, region=region)
    logits = engine.run(batch.pixels, [engine.spec.head.logits])[0].astype(np.float64)
    means = (logits * region).sum((2, 3)) / region.sum()
    np.testing.assert_allclose(seen.entries, means, rtol=1e-5)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(seen.entry_scores, (shares * region).sum((2, 3)) / region.sum(), rtol=1e-5)
    whole = engine.activations(PHOTO, 2)
    assert not np.allclose(whole.gradients, seen.gradients)
    with pytest.raises(OnnxplainError, match="region: found no cell in it"):
        engine.activations(PHOTO, 2, region=np.zeros_like(region))
    with pytest.raises(OnnxplainError, match=r"region: found shape \(1, 1, 4, 4\), expected \(1, 1, 32, 32\)"):
        engine.activations(PHOTO, 2, region=np.ones((1, 1, 4, 4)))
    with pytest.raises(OnnxplainError, match="reference: found one, expected none"):
        engine.activations(PHOTO, 2, reference=np.ones(5))


def test_the_cosine_with_a_reference_is_what_is_differentiated(tmp_path):
    row = Row("p = LpNormalization<axis = 1, p = 2>(y)", "float[N, 6] p", (), None)
    plain, engine = both(tmp_path, row)
    other = plain.answers(PHOTO[::-1].copy())[0][0].vector
    seen = engine.activations(PHOTO, reference=other)
    np.testing.assert_allclose(seen.entries, plain.entry_scores(plain.preprocess(PHOTO), other), rtol=1e-5)
    np.testing.assert_array_equal(seen.entries, seen.entry_scores)
    assert np.isfinite(seen.gradients).all()
    assert seen.gradients.any()
    assert np.isnan(engine.activations(PHOTO).gradients).all()
    assert np.isnan(engine.activations(PHOTO).entries).all()


def test_the_heads_of_an_explainable_file_are_fixed(tmp_path):
    both(tmp_path, Row("p = MatMul(means, one)", f"{Y}, {ONE}", (), None))
    path = tmp_path / "explainable.onnx"
    assert Engine(path, heads=["y", "p:values"]).spec.head.name == "y"
    for stated in ("q", "y:labels", "q:mask", "y:none"):
        with pytest.raises(ModelError, match=r"whose heads are fixed: y \(classes\), p \(values\)"):
            Engine(path, heads=[stated])
    assert Engine(path, labels={"p": ["age"]}).parse_target("age").index == 6


OUTPUTS = "float[N, 6] q, float[N, 1] p, float[N, 4] b"


@pytest.mark.parametrize(
    ("stated", "order"),
    [
        (["p"], ["p", "b", "q"]),
        (["b:box"], ["q", "b", "p"]),
        (["b"], ["b", "q", "p"]),
        (["q:classes"], ["q", "b", "p"]),
        (["b:box", "p"], ["p", "b", "q"]),
    ],
    ids=str,
)
def test_another_head_is_the_default_without_writing_the_file_again(tmp_path, stated, order):
    """The same as in a file that was written with that default: answers, scores, gradients of every target, −1 too."""
    onnx.save(
        end_model("z = MatMul(means, one) p = Sigmoid(z) q = Softmax(y) b = MatMul(means, four)", OUTPUTS),
        tmp_path / "model.onnx",
    )
    options = {"preprocessing": PRESETS["unit"]}
    instrument(tmp_path / "model.onnx", tmp_path / "one.onnx", heads=["q", "b:box"], **options)
    instrument(tmp_path / "model.onnx", tmp_path / "other.onnx", heads=["b:box", *stated], **options)
    first = Engine(tmp_path / "one.onnx", ["cpu"], 1)
    assert [head.name for head in first.spec.heads] == ["q", "b", "p"]
    ours, theirs = Engine(tmp_path / "one.onnx", ["cpu"], 1, heads=stated), Engine(tmp_path / "other.onnx", ["cpu"], 1)
    assert [head.name for head in ours.spec.heads] == [head.name for head in theirs.spec.heads] == order
    batch = ours.preprocess(PHOTOS)
    np.testing.assert_array_equal(ours.entry_scores(batch), theirs.entry_scores(batch))
    asked = [*range(11), *([] if order[0] == "b" else [-1])]
    for target in asked:
        mine, other = ours.activations(PHOTOS, target), theirs.activations(PHOTOS, target)
        np.testing.assert_array_equal(mine.target, other.target)
        np.testing.assert_allclose(mine.gradients, other.gradients, rtol=1e-5, atol=1e-7)
        assert mine.gradients.any()
    several = ours.activations(PHOTO, asked)
    np.testing.assert_allclose(several.gradients, theirs.activations(PHOTO, asked).gradients, rtol=1e-5, atol=1e-7)
    tails = [engine.tail.answers(several.features) for engine in (ours, theirs)]
    np.testing.assert_allclose(*tails, rtol=1e-5, atol=1e-7)
    assert ours.spec.cam is None or order[0] == "q"


@pytest.mark.parametrize("given", [2.0, [1, 2, 3, 4, 5, 6]])
def test_the_value_of_another_input_stays_in_the_file_and_may_be_replaced(tmp_path, given):
    model = end_model("p = Add(y, tabular)", f"{P}, {Y}", image="float[N, 3, 32, 32] image, float[N, 6] tabular")
    onnx.save(model, tmp_path / "model.onnx")
    options = {"preprocessing": PRESETS["unit"], "heads": ("p:values", "y:values")}
    instrument(tmp_path / "model.onnx", tmp_path / "explainable.onnx", inputs={"tabular": given}, **options)
    for inputs, shift in ((None, given), ({"tabular": 7}, 7)):
        engine = Engine(tmp_path / "explainable.onnx", ["cpu"], 1, inputs=inputs)
        for p, y in engine.answers(PHOTOS):
            np.testing.assert_allclose(p.numbers, y.numbers + np.asarray(shift, np.float32), rtol=1e-5, atol=1e-6)
        bound = engine.bind(["p", "y"])
        bound.bind("image", engine.input_buffer(3))
        bound.run(3)
        p, y = bound.fetch()
        np.testing.assert_allclose(p, y + np.asarray(shift, np.float32), rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelError, match="found no input k"):
        Engine(tmp_path / "explainable.onnx", inputs={"k": 1})
