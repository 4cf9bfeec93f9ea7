"""Plain files of every kind: what the engine answers is what the file says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxplain.contract import PRESETS, StatedHead
from onnxplain.errors import ModelError, OnnxplainError, UnsupportedError
from onnxplain.runtime import Engine
from onnxplain.runtime.answers import BoxAnswer, Classes, Embedding, Labels, Mask, Values
from tests.exporters.heads.graph_ends import end_model

Y, P, ONE, M = "float[N, 6] y", "float[N, 6] p", "float[N, 1] p", "float[N, 5, 32, 32] p"
PHOTO = np.random.default_rng(3).integers(0, 256, (40, 52, 3), np.uint8)


def softmax(z, axis=1):
    e = np.exp(z.astype(np.float64) - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@dataclass(frozen=True)
class Row:
    """The end of a file, the heads it has (``kind size logits scores``), and the shown scores from its own outputs."""

    nodes: str
    outputs: str
    heads: tuple[str, ...]
    shown: object
    heads_stated: tuple[str, ...] = ()
    decoder: bool = False
    opset: int = 18
    tolerance: float = 2e-6


ROWS = {
    "logits": Row("", Y, ("classes 6 y None",), lambda o: softmax(o["y"])),
    "softmax": Row("p = Softmax(y)", P, ("classes 6 None p",), lambda o: o["p"]),
    "log softmax": Row("p = LogSoftmax(y)", P, ("classes 6 None p",), lambda o: np.exp(o["p"])),
    "percent": Row("s = Softmax(y) p = Mul(s, hundred)", P, ("classes 6 None p",), lambda o: o["p"] / 100),
    "clip": Row("s = Softmax(y) p = Clip(s, small, most)", P, ("classes 6 None p",), lambda o: o["p"]),
    "logits and softmax": Row("p = Softmax(y)", f"{Y}, {P}", ("classes 6 y p",), lambda o: o["p"]),
    "logits and warm softmax": Row(
        "t = Div(y, warmth) p = Softmax(t)", f"{Y}, {P}", ("classes 6 None p",), lambda o: o["p"]
    ),
    "scores and label": Row(
        "p = Softmax(y) k = ArgMax<axis = 1, keepdims = 0>(p)",
        f"{P}, int64[N] k",
        ("classes 6 None p",),
        lambda o: o["p"],
    ),
    "features and logits": Row("", f"float[N, 8] means, {Y}", ("classes 6 y None",), lambda o: softmax(o["y"])),
    "sigmoid": Row("p = Sigmoid(y)", P, ("labels 6 None p",), lambda o: o["p"]),
    "logits and sigmoid": Row("p = Sigmoid(y)", f"{Y}, {P}", ("labels 6 y p",), lambda o: o["p"]),
    "fused sigmoid": Row(
        'p = com.microsoft.FusedGemm<activation = "Sigmoid">(means, weights, bias)',
        P,
        ("labels 6 None p",),
        lambda o: o["p"],
    ),
    "uint8 sigmoid": Row(
        "s = Sigmoid(y) p = QuantizeLinear(s, unit, lowest)",
        "uint8[N, 6] p",
        ("labels 6 None p",),
        lambda o: o["p"] / 256,
    ),
    "one sigmoid": Row("z = MatMul(means, one) p = Sigmoid(z)", ONE, ("labels 1 None p",), lambda o: o["p"]),
    "one sigmoid [N]": Row(
        "z = MatMul(means, one) s = Sigmoid(z) p = Squeeze(s, first)",
        "float[N] p",
        ("labels 1 None p",),
        lambda o: o["p"][:, None],
    ),
    "one logit as stated": Row(
        "p = MatMul(means, one)", ONE, ("labels 1 p None",), lambda o: 1 / (1 + np.exp(-o["p"])), ("p:labels",)
    ),
    "one number": Row("p = MatMul(means, one)", ONE, ("values 1 p None",), lambda o: o["p"]),
    "percentages as values": Row(
        "s = Softmax(y) p = Mul(s, hundred)", P, ("values 6 p None",), lambda o: o["p"], ("p:values",)
    ),
    "two heads": Row(
        "p = MatMul(means, one)",
        f"{ONE}, {Y}",
        ("classes 6 y None", "values 1 p None"),
        lambda o: np.hstack([softmax(o["y"]), o["p"]]),
    ),
    "the second head by default": Row(
        "p = MatMul(means, one)",
        f"{Y}, {ONE}",
        ("values 1 p None", "classes 6 y None"),
        lambda o: np.hstack([o["p"], softmax(o["y"])]),
        ("p",),
    ),
    "a box": Row(
        "p = MatMul(means, four)",
        f"{Y}, float[N, 4] p",
        ("classes 6 y None", "box 4 p None"),
        lambda o: np.hstack([softmax(o["y"]), o["p"]]),
        ("p:box",),
    ),
    "mask": Row("p = Softmax<axis = 1>(m)", M, ("mask 5 None p",), lambda o: o["p"].mean((2, 3)), decoder=True),
    "mask, classes last": Row(
        "s = Softmax<axis = 1>(m) p = Transpose<perm = [0, 2, 3, 1]>(s)",
        "float[N, 32, 32, 5] p",
        ("mask 5 None p",),
        lambda o: o["p"].mean((1, 2)),
        decoder=True,
    ),
    "mask by sigmoid": Row("p = Sigmoid(m)", M, ("mask 5 None p",), lambda o: o["p"].mean((2, 3)), decoder=True),
    "mask of logits as stated": Row(
        "",
        "float[N, 5, 32, 32] m",
        ("mask 5 m None",),
        lambda o: softmax(o["m"]).mean((2, 3)),
        ("m:mask",),
        decoder=True,
    ),
    "mask in percent": Row(
        "s = Softmax<axis = 1>(m) p = Mul(s, hundred)",
        M,
        ("mask 5 None p",),
        lambda o: o["p"].mean((2, 3)) / 100,
        decoder=True,
    ),
}


def write(tmp_path: Path, row: Row) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(end_model(row.nodes, row.outputs, opset=row.opset, decoder=row.decoder), path)
    return path


@pytest.mark.parametrize("name", ROWS)
def test_scores_are_those_of_the_file(tmp_path, name):
    row = ROWS[name]
    path = write(tmp_path, row)
    engine = Engine(path, ["cpu"], 1, preprocessing=PRESETS["unit"], heads=row.heads_stated)
    heads = engine.spec.heads
    assert tuple(f"{head.kind} {head.size} {head.logits} {head.scores}" for head in heads) == row.heads
    batch = engine.preprocess([PHOTO, PHOTO[::-1].copy(), PHOTO[:, :30]])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {"image": batch}), strict=True))
    shown = engine.entry_scores(batch)
    assert shown.dtype == np.float32
    assert shown.shape == (3, engine.spec.numbering.count)
    np.testing.assert_allclose(shown, row.shown(outputs), rtol=row.tolerance, atol=1e-7)
    default = engine.scores(batch)
    np.testing.assert_array_equal(default, shown[:, : heads[0].entries])
    answers = engine.answers([PHOTO, PHOTO[::-1].copy()])
    assert len(answers) == 2
    kinds = {"classes": Classes, "labels": Labels, "values": Values, "box": BoxAnswer, "mask": Mask}
    assert [type(answer) for answer in answers[0]] == [kinds[head.kind] for head in heads]


def test_an_embedding_is_compared_with_a_reference(tmp_path):
    path = write(tmp_path, Row("p = LpNormalization<axis = 1, p = 2>(y)", P, (), None))
    engine = Engine(path, ["cpu"], 1, preprocessing=PRESETS["unit"])
    assert [(head.kind, head.size, head.entries) for head in engine.spec.heads] == [("embedding", 6, 1)]
    ((one,), (other,)) = engine.answers([PHOTO, PHOTO[::-1, :20].copy()])
    assert isinstance(one, Embedding)
    batch = engine.preprocess([PHOTO, PHOTO[::-1, :20].copy()])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    vectors = session.run(["p"], {"image": batch})[0].astype(np.float64)
    assert one.cosine(other) == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)
    shown = engine.entry_scores(batch, reference=3 * other.vector)
    np.testing.assert_allclose(shown, (vectors @ vectors[1])[:, None], atol=1e-6)
    assert np.isnan(engine.entry_scores(batch)).all()
    with pytest.raises(OnnxplainError, match="vector of zeros"):
        engine.entry_scores(batch, reference=np.zeros(6))
    with pytest.raises(OnnxplainError, match=r"reference: found shape \(1, 5\), expected \(1 or 2, 6\)"):
        engine.entry_scores(batch, reference=np.ones(5))
    with pytest.raises(OnnxplainError, match="cosine: found a vector"):
        one.cosine(np.ones(3))
    with pytest.raises(UnsupportedError, match=r"found the heads p \(embedding\), .* use answers\(\)"):
        engine.predict(PHOTO)


@pytest.mark.parametrize(
    ("row", "stated", "message"),
    [
        (
            Row("k = ArgMax<axis = 1, keepdims = 0>(y)", "int64[N] k", (), None),
            (),
            "only what ArgMax picks",
        ),
        (
            Row("s = Softmax(y) v, k = TopK(s, three)", "float[N, 3] v, int64[N, 3] k", (), None),
            (),
            "only what Softmax picks|only what TopK picks",
        ),
        (Row("", "float[N, 5, 32, 32] m", (), None, decoder=True), (), "--head m:mask"),
        (Row("p = MatMul(means, four)", f"{Y}, float[N, 4] p", (), None), (), r"p \[N, 4\]: it may be box or classes"),
        (Row("p = QuantizeLinear(y, step, middle)", "uint8[N, 6] p", (), None), (), "it holds integers: instrument"),
        (Row("", Y, (), None), ("z",), "--head z: found no such output, expected one of y"),
        (Row("p = Softmax(y)", P, (), None), ("y:classes",), "--head y: found no such output.*instrument the file"),
        (Row("", Y, (), None), ("y:mask",), "y .*stated as mask, which needs another shape"),
        (
            Row("p = Softmax(y) q = Sigmoid(y)", f"{P}, float[N, 6] q", (), None),
            (),
            "q .*the graph says that it is classes or labels",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path, row, stated, message):
    path = write(tmp_path, row)
    with pytest.raises(ModelError, match=message) as caught:
        Engine(path, heads=stated)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_outputs_that_are_no_heads_are_kept_with_their_reason(tmp_path):
    path = write(tmp_path, Row("", f"float[N, 8] means, {Y}", (), None))
    engine = Engine(path)
    assert [str(each) for each in engine.unused_outputs] == [
        "means [N, 8]: y is computed from it: features, unless you state --head means:KIND"
    ]
    assert Engine(path, heads=[StatedHead("means", "embedding")]).unused_outputs == ()


def test_labels_belong_to_heads(tmp_path):
    path = write(tmp_path, Row("p = MatMul(means, two)", f"{Y}, float[N, 2] p", (), None))
    engine = Engine(path, labels={"p": ["f", "m"]})
    assert [head.labels for head in engine.spec.heads] == [(), ("f", "m")]
    assert engine.parse_target("m").index == 7
    assert Engine(path, labels=list("abcdef")).spec.labels == tuple("abcdef")
    with pytest.raises(OnnxplainError, match="labels: found no head q, expected one of y, p"):
        Engine(path, labels={"q": ["f"]})
    with pytest.raises(OnnxplainError, match="labels: found 2, but the model has 6 classes"):
        Engine(path, labels=["f", "m"])


@dataclass(frozen=True)
class Extra:
    """Nodes that use another input, what is given for it, and what p then is: ``y · factor + shift``."""

    inputs: str
    nodes: str
    given: dict[str, object] = field(default_factory=dict)
    factor: float = 1
    shift: object = 0
    message: str = ""


EXTRAS = {
    "a number for every image": Extra("float[N, 6] tabular", "p = Add(y, tabular)", {"tabular": 2.0}, shift=2),
    "a row for every image": Extra(
        "float[N, 6] tabular", "p = Add(y, tabular)", {"tabular": [1, 2, 3, 4, 5, 6]}, shift=np.arange(1, 7)
    ),
    "a setting": Extra("float[1] temperature", "p = Div(y, temperature)", {"temperature": 2}, 0.5),
    "a setting of open length": Extra("float[k] temperature", "p = Div(y, temperature)", {"temperature": 2}, 0.5),
    "the size of the photo": Extra(
        "int64[N, 2] orig_target_sizes",
        "f = Cast<to = 1>(orig_target_sizes) r = ReduceSum(f, first) p = Add(y, r)",
        shift=92,
    ),
    "no value": Extra("float[N, 6] tabular", "p = Add(y, tabular)", message="found no value for input tabular float32"),
    "another shape": Extra(
        "float[N, 6] tabular", "p = Add(y, tabular)", {"tabular": [1, 2]}, message="expected a value of that shape"
    ),
    "another type": Extra(
        "int64[N, 6] tabular",
        "f = Cast<to = 1>(tabular) p = Add(y, f)",
        {"tabular": 0.5},
        message="expected a value of that type",
    ),
    "no such input": Extra("", "p = Identity(y)", {"tabular": 1}, message="found no input tabular"),
}


@pytest.mark.parametrize("name", EXTRAS)
def test_inputs_besides_the_image(tmp_path, name):
    row = EXTRAS[name]
    image = "float[N, 3, 32, 32] image" + (f", {row.inputs}" if row.inputs else "")
    path = tmp_path / "model.onnx"
    onnx.save(end_model(row.nodes, f"{P}, {Y}", image=image), path)
    options = {"inputs": row.given, "preprocessing": PRESETS["unit"], "heads": ("p:values", "y:values")}
    if row.message:
        with pytest.raises(ModelError, match=row.message):
            Engine(path, **options)
        return
    engine = Engine(path, ["cpu"], 1, **options)
    assert [head.name for head in engine.spec.heads] == ["p", "y"]
    for found in engine.answers([PHOTO] * 3):
        np.testing.assert_allclose(found[0].numbers, found[1].numbers * row.factor + row.shift, rtol=1e-5)
    bound = engine.bind(["p", "y"], PHOTO.shape[:2])
    buffer = engine.input_buffer(3)
    bound.bind("image", buffer)
    bound.run(3)
    p, y = bound.fetch()
    np.testing.assert_allclose(p[2], y[2] * row.factor + row.shift, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "kind", "evidence"),
    [
        ({"problem_type": "multi_label_classification"}, "labels", "config.json, problem_type"),
        ({"problem_type": "regression"}, "values", "config.json, problem_type"),
        ({"architectures": ["ViTForImageClassification"]}, "classes", "config.json, architectures"),
        ({"architectures": ["SegformerForSemanticSegmentation"]}, "classes", None),  # does not fit a row
    ],
)
def test_what_hugging_face_says_of_logits(tmp_path, config, kind, evidence):
    path = write(tmp_path, Row("", Y, (), None))
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Engine(path).spec.head.kind == kind
    assert Engine(path).spec.head.evidence.source == evidence
    assert Engine(path, sidecars=False).spec.head.evidence.kind == "assumed"
    assert Engine(path, heads=["y:embedding"]).spec.head.kind == "embedding"
