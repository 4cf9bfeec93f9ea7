"""Files with heads: what a run may ask, what it may not, names of outputs, renewal, tails, refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onnxplain.contract import HeadSpec, StatedHead
from onnxplain.errors import OnnxplainError, VerificationError
from onnxplain.exporters import ExportReport, instrument, survey
from onnxplain.exporters.graph.branch import Branch
from onnxplain.exporters.writing import seeds
from tests.exporters.graphs import relative_error
from tests.exporters.heads.graph_ends import end_model

IMAGE = np.random.default_rng(5).random((3, 3, 32, 32)).astype(np.float32)
ORDERED = (
    "p = Softmax(y) z = Gemm(means, two) e = LpNormalization<axis = 1, p = 2>(z) n = Gemm(means, four) s = Sigmoid(n) "
    "a = Gemm(means, one) m2 = Conv(maps, pointwise) k = Softmax<axis = 1>(m2)"
)
OUTPUTS = "float[N, 2] e, float[N, 5, 8, 8] k, float[N, 6] p, float[N, 4] s, float[N, 1] a"
# Targets: p 0–5, e 6, k 7–11, s 12–15, a 16.
KINDS = ["classes", "embedding", "mask", "labels", "values"]


def written(folder: Path, end: str, outputs: str, **options: Any) -> ExportReport:
    model = {key: options.pop(key) for key in ("decoder", "image") if key in options}
    onnx.save(end_model(end, outputs, **model), folder / "plain.onnx")
    return instrument(folder / "plain.onnx", folder / "out.onnx", **options)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    labels = {"p": list("abcdef"), "s": ["north", "east", "south", "west"]}
    return written(tmp_path_factory.mktemp("all"), ORDERED, OUTPUTS, heads=["s:labels"], labels=labels)


def run(report: ExportReport, targets: Sequence[int], images: np.ndarray = IMAGE, **feeds: np.ndarray) -> np.ndarray:
    """The gradients for targets, one per image or one for all."""
    session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    given = {"image": images, "target": np.array(targets), "explain": np.array([True]), **feeds}
    return np.asarray(session.run([report.spec.layers[-1].gradients], given)[0])


def test_heads_stand_in_the_order_of_targets(report: ExportReport) -> None:
    spec = report.spec
    assert [head.kind for head in spec.heads] == KINDS
    assert [head.name for head in spec.heads] == ["p", "e", "k", "s", "a"]
    assert spec.numbering.starts == (0, 6, 7, 12, 16, 17)
    assert [head.logits for head in spec.heads] == ["logits", "e", "logits/k", "logits/s", "a"]
    assert [head.scores for head in spec.heads] == ["p", None, "k", "s", None]
    assert [head.labels[:1] for head in spec.heads] == [("a",), (), (), ("north",), ()]
    assert spec.head.size == 6
    assert spec.heads[2].map_size_hw == (8, 8)
    session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    shapes = {value.name: value.shape for value in session.get_overridable_initializers()}
    assert shapes["reference"] == ["references", 2]
    assert shapes["region"] == ["regions", 1, "region_height", "region_width"]
    shapes = {value.name: value.shape for value in session.get_outputs()}
    assert [shapes[str(head.logits)] for head in spec.heads] == [["N", 6], ["N", 2], ["N", 5, 8, 8], ["N", 4], ["N", 1]]


def test_targets_of_a_batch_may_belong_to_different_heads(report: ExportReport) -> None:
    reference = np.array([[1, 0], [0.3, -2], [1, 1]], np.float32)
    region = (np.random.default_rng(1).random((3, 1, 8, 8)) < 0.5).astype(np.float32)
    found = run(report, [9, 6, 13], reference=reference, region=region)
    for row, target in enumerate((9, 6, 13)):
        alone = run(
            report, [target], IMAGE[row : row + 1], reference=reference[row : row + 1], region=region[row : row + 1]
        )
        assert np.count_nonzero(alone)
        assert relative_error(found[row : row + 1], alone) < 1e-6


def test_no_target_means_the_default_heads_best(report: ExportReport) -> None:
    session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": IMAGE})
    assert np.array_equal(run(report, [-1]), run(report, list(logits.argmax(1))))


def test_a_reference_of_zeros_is_nan_and_spoils_no_other_head(report: ExportReport) -> None:
    assert np.isnan(run(report, [6])).all()
    assert np.isfinite(run(report, [5])).all()
    assert np.isnan(run(report, [6, 0, 16])).any(axis=(1, 2, 3)).tolist() == [True, False, False]


def test_an_empty_region_is_nan(report: ExportReport) -> None:
    empty = np.zeros((1, 1, 8, 8), np.float32)
    assert np.isnan(run(report, [7], region=empty)).all()
    assert np.isfinite(run(report, [16], region=empty)).all()


OUT: Mapping[str, Mapping[str, Any]] = {
    "a target behind the last": {"targets": [17]},
    "two targets for three images": {"targets": [0, 1]},
    "two references for three targets": {"targets": [6, 6, 6], "reference": np.ones((2, 2), np.float32)},
    "three references for one target": {
        "targets": [6],
        "images": IMAGE[:1],
        "reference": np.ones((3, 2), np.float32),
    },
    "a region of another size": {"targets": [7], "region": np.ones((1, 1, 4, 4), np.float32)},
}


@pytest.mark.parametrize("asked", OUT.values(), ids=OUT.keys())
def test_what_cannot_be_asked_fails(report: ExportReport, asked: Mapping[str, Any]) -> None:
    with pytest.raises(Exception, match=r"(?i)invalid|out of data bounds|cannot be reshaped|incompatible|broadcast"):
        run(report, **asked)


BEST = {
    "labels": ("p = Sigmoid(y)", "float[N, 6] p", {}),
    "values": ("", "float[N, 6] y", {"heads": ["y:values"]}),
    "mask": ("p = Softmax<axis = 1>(scoremaps)", "float[N, 5, 8, 8] p", {"decoder": True}),
    "a mask of independent classes": ("p = Sigmoid(scoremaps)", "float[N, 5, 8, 8] p", {"decoder": True}),
}


@pytest.mark.parametrize(("end", "outputs", "options"), BEST.values(), ids=BEST.keys())
def test_the_best_entry_of_each_kind(end: str, outputs: str, options: Mapping[str, Any], tmp_path: Path) -> None:
    report = written(tmp_path, end, outputs, **options)
    head = report.spec.head
    session = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    (logits,) = session.run([head.logits], {"image": IMAGE})
    best = logits.argmax(1)
    if head.kind == "values":
        best = np.zeros(len(IMAGE), np.int64)
    if head.kind == "mask":
        held = logits > 0 if head.sigmoid else np.arange(5)[:, None, None] == best[:, None]
        best = held.mean((2, 3)).argmax(1)
    assert np.array_equal(run(report, [-1]), run(report, list(best)))


def test_a_box_alone_has_no_best_entry(tmp_path: Path) -> None:
    report = written(tmp_path, "p = Gemm(means, four)", "float[N, 4] p", box="p")
    assert [head.kind for head in report.spec.heads] == ["box"]
    assert np.count_nonzero(run(report, [3]))
    with pytest.raises(Exception, match="out of data bounds"):
        run(report, [-1])


@pytest.mark.parametrize("gate", [True, False])
def test_every_heads_answer_is_in_the_tail(gate: bool, tmp_path: Path) -> None:
    report = written(tmp_path, ORDERED, OUTPUTS, heads=["s:labels"], gate=gate)
    tail = report.spec.tail
    assert tail is not None
    assert tail.outputs == ("logits", "logits/e", "logits/k", "logits/s", "logits/a")
    whole = ort.InferenceSession(report.path, providers=["CPUExecutionProvider"])
    names = [str(head.logits) for head in report.spec.heads]
    features, *expected = whole.run([report.spec.layers[-1].features, *names], {"image": IMAGE})
    part = ort.InferenceSession(tmp_path / tail.file, providers=["CPUExecutionProvider"])
    found = part.run(list(tail.outputs), {tail.input: features})
    assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(found, expected, strict=True))


STATED: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]] = {
    "the default head": ({"heads": ["s:labels", "a"]}, ["a values", "e embedding", "k mask", "p classes", "s labels"]),
    "the default by --logits": ({"heads": ["s:labels"], "logits": "p"}, ["p classes", *["e", "k", "s", "a"]]),
    "by objects": (
        {"heads": [StatedHead("s", "labels"), StatedHead("s")]},
        ["s labels", "e embedding", "k mask", "p classes", "a values"],
    ),
    "a box behind the default": ({"box": "s"}, ["p classes", "s box", "e embedding", "k mask", "a values"]),
    "left out": ({"heads": ["s:none", "k:none"]}, ["p classes", "e embedding", "a values"]),
}


@pytest.mark.parametrize(("options", "expected"), STATED.values(), ids=STATED.keys())
def test_stated_heads_and_their_renewal(options: Mapping[str, Any], expected: Sequence[str], tmp_path: Path) -> None:
    first = written(tmp_path, ORDERED, OUTPUTS, **options)
    assert [f"{head.name} {head.kind}"[: len(text)] for head, text in zip(first.spec.heads, expected, strict=True)] == (
        list(expected)
    )
    again = instrument(first.path, tmp_path / "again.onnx")
    assert again.spec == replace(first.spec, tail=replace(first.spec.tail, file="again.tail.onnx"))
    assert [entry.layer for entry in again.checks.layers] == [entry.layer for entry in first.checks.layers]


def test_renewal_keeps_labels_and_takes_other_heads(report: ExportReport, tmp_path: Path) -> None:
    again = instrument(report.path, tmp_path / "again.onnx", heads=["s:values", "s"], labels={"k": list("vwxyz")})
    assert [(head.name, head.kind, head.labels[:1]) for head in again.spec.heads] == [
        ("s", "values", ("north",)),
        ("e", "embedding", ()),
        ("k", "mask", ("v",)),
        ("p", "classes", ("a",)),
        ("a", "values", ()),
    ]


@pytest.mark.parametrize("options", [{"heads": ["z"]}, {"heads": ["z:classes"]}, {"logits": "z"}], ids=str)
def test_renewal_takes_another_default_before_what_was_stated_earlier(
    options: Mapping[str, Any], tmp_path: Path
) -> None:
    first = written(
        tmp_path, "z = MatMul(means, four)", "float[N, 6] y, float[N, 4] z", heads=["y:classes", "z:classes"]
    )
    assert [head.name for head in first.spec.heads] == ["y", "z"]
    again = instrument(first.path, tmp_path / "again.onnx", **options)
    assert [head.name for head in again.spec.heads] == ["z", "y"]
    assert [head.name for head in instrument(again.path, tmp_path / "third.onnx").spec.heads] == ["z", "y"]


TWO_EMBEDDINGS = (
    "d = LpNormalization<axis = 1, p = 2>(y) z = Gemm(means, two) e = LpNormalization<axis = 1, p = 2>(z)",
    "float[N, 6] d, float[N, 2] e",
)
ROUNDED = ("a = Gemm(means, one) r = Round(a)", "float[N, 6] y, float[N, 1] r")
REFUSED: Mapping[str, tuple[tuple[str, str], Mapping[str, Any], str]] = {
    "a head without a gradient": (
        ROUNDED,
        {},
        "the head 'r': its gradient is zero at layer 'maps' for every image, .*--head r:none",
    ),
    "a head without a layer": (
        ("c = GlobalMaxPool(image) r = Flatten(c)", "float[N, 6] y, float[N, 3] r"),
        {},
        "no feature map of the image leads to the heads r: leave them out, --head r:none",
    ),
    "an embedding of another size, stated": (
        TWO_EMBEDDINGS,
        {"heads": ["e:embedding"]},
        "e .*one file explains embeddings or masks of one size, that of d: to use it, state d:none",
    ),
    "labels of another number": (
        ("p = Sigmoid(y)", "float[N, 6] p"),
        {"labels": ["a"]},
        "labels: found 1, but the head p has 6 labels",
    ),
    "labels of a head that is not there": (
        ("", "float[N, 6] y"),
        {"labels": {"z": ["a"]}},
        "labels: found no head z, expected one of y",
    ),
    "labels of an embedding": (TWO_EMBEDDINGS, {"labels": {"d": list("abcdef")}}, "the head d is an embedding"),
    "a default that is no head": (
        ("p = Sigmoid(y) b = Greater(p, half)", "float[N, 6] p, bool[N, 6] b"),
        {"heads": ["b"]},
        "--head b: found no head of this name, expected one of p: state its kind, --head b:KIND",
    ),
}


@pytest.mark.parametrize(("model", "options", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(model: tuple[str, str], options: Mapping[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match=says):
        written(tmp_path, *model, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["plain.onnx"]


def test_an_embedding_of_another_size_is_left_out_and_said(tmp_path: Path) -> None:
    report = written(tmp_path, *TWO_EMBEDDINGS)
    assert [head.name for head in report.spec.heads] == ["d"]
    assert [str(entry).partition(":")[0] for entry in report.unused] == ["e [N, 2]"]
    assert [head.name for head in written(tmp_path, *TWO_EMBEDDINGS, heads=["d:none"]).spec.heads] == ["e"]


def _straight(branch: Branch, head: Any, part: Any, reference: Any, rows: Any) -> Any:
    """The derivative of e · r, which forgets both norms."""
    return branch.Mul(branch.Identity(reference), part)


def _of_sum(branch: Branch, head: Any, part: Any, region: Any, rows: Any) -> Any:
    """The derivative of the sum over the region instead of the mean."""
    ones = branch.Expand(region, [1, 1, *head.map_size_hw])
    return branch.Mul(branch.Unsqueeze(part, [2, 3]), ones)


WRONG = {"_of_cosine": (_straight, *TWO_EMBEDDINGS), "_of_mean": (_of_sum, *BEST["mask"][:2])}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_seed_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, end, outputs = WRONG[name]
    monkeypatch.setattr(seeds, name, wrong)
    with pytest.raises(VerificationError, match="check 'gradient"):
        written(tmp_path, end, outputs, decoder=name == "_of_mean")


def test_a_head_keeps_the_evidence_for_its_kind(report: ExportReport) -> None:
    def evidence(head: HeadSpec) -> str:
        return f"{head.name} {head.evidence.kind} {head.evidence.source}"

    assert [evidence(head) for head in report.spec.heads] == [
        "p graph Softmax",
        "e graph L2 normalisation",
        "k graph Softmax",
        "s stated None",
        "a graph one number",
    ]


CONFIGS: Mapping[str, tuple[str, str, str, Sequence[str]]] = {
    "regression": ('{"problem_type": "regression"}', "", "float[N, 6] y", ["y values read config.json, problem_type"]),
    "several labels": (
        '{"problem_type": "multi_label_classification"}',
        "",
        "float[N, 6] y",
        ["y labels read config.json, problem_type"],
    ),
    "segmentation": (
        '{"architectures": ["SegformerForSemanticSegmentation"]}',
        "",
        "float[N, 5, 8, 8] scoremaps",
        ["scoremaps mask read config.json, architectures"],
    ),
    "one number where it says classes": (
        '{"architectures": ["ViTForImageClassification"]}',
        "a = Gemm(means, one)",
        "float[N, 1] a",
        ["a values graph one number"],
    ),
}


@pytest.mark.parametrize(("config", "end", "outputs", "heads"), CONFIGS.values(), ids=CONFIGS.keys())
def test_what_transformers_says_beside_the_file(
    config: str, end: str, outputs: str, heads: Sequence[str], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    report = written(tmp_path, end, outputs, decoder=True)
    assert [
        f"{head.name} {head.kind} {head.evidence.kind} {head.evidence.source}" for head in report.spec.heads
    ] == list(heads)
    (tmp_path / "config.json").unlink()
    assert instrument(report.path, tmp_path / "again.onnx").spec.heads[0].kind == report.spec.head.kind


def test_survey_takes_heads(tmp_path: Path) -> None:
    onnx.save(end_model("", "float[N, 5, 32, 32] m", decoder=True), tmp_path / "plain.onnx")
    found = survey(tmp_path / "plain.onnx", heads=["m:mask"])
    # The mask itself is a map too; the layer before it has seen more.
    assert [(entry.name, entry.chosen) for entry in found] == [
        ("convolved", False),
        ("maps", True),
        ("scoremaps", False),
        ("m", False),
    ]
