"""The answers of every kind of head in explanations.jsonl, against what ONNX Runtime gives for the plain file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from onnxplain import Engine
from onnxplain.contract import Preprocessing, StatedHead
from onnxplain.explanations.answer_tree import FIRST_NUMBERS, answer_tree, summarise_answer
from onnxplain.explanations.explain_images import explain_images
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle
from onnxplain.explanations.open_model import OpenedModel
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.explanations.questions import plan_questions
from onnxplain.explanations.run_record import record_run
from onnxplain.explanations.verify_folder import read_run, verify_run
from onnxplain.report.folder_report import report_of
from onnxplain.report.head_answers import shown_answer, shown_score
from onnxplain.report.page_file import write_report
from tests.explanations.conftest import RecordedProgress
from tests.exporters.heads.graph_ends import end_model
from tests.report.test_report import data_of

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "explanations.schema.json"
NODES = """
l = MatMul(means, two)  p = Sigmoid(l)
v = MatMul(means, one)
b = MatMul(means, four)
e = LpNormalization<axis = 1, p = 2>(means)
s = Softmax<axis = 1>(m)
"""
OUTPUTS = "float[N, 6] y, float[N, 2] p, float[N, 1] v, float[N, 4] b, float[N, 8] e, float[N, 5, 32, 32] s"
HEADS = (StatedHead("b", "box"), StatedHead("v", "values"))
PLAIN = Preprocessing("rgb", 1 / 255, (0.0,) * 3, (1.0,) * 3, "stretch")
KINDS = {"y": "classes", "p": "labels", "v": "values", "b": "box", "e": "embedding", "s": "mask"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos of the input's size, explained by rise; the file has a head of every kind."""
    folder = tmp_path_factory.mktemp("heads")
    onnx.save(end_model(NODES, OUTPUTS, decoder=True), folder / "model.onnx")
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    engine = Engine(folder / "model.onnx", heads=HEADS, preprocessing=PLAIN)
    questions = plan_questions(engine, ["rise"], ["p:1", "v"], {"masks": 20, "batch_size": 10})
    style, options = PictureStyle(), OpenOptions(heads=HEADS)
    run = record_run(OpenedModel(engine, ()), options, questions, style, folder / "out")
    with ExplanationFolder(folder / "out", style, run) as out:
        for _ in explain_images(engine, [folder / "0.png", folder / "1.png"], questions, out, RecordedProgress()):
            pass
    return folder


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "explanations.jsonl").read_text().splitlines()]


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


def test_every_line_has_the_answer_of_every_head(written: Path) -> None:
    session = onnxruntime.InferenceSession(written / "model.onnx", providers=["CPUExecutionProvider"])
    schema = json.loads(SCHEMA.read_text())
    lines = lines_of(written)
    assert len(lines) == 4
    for line in lines:
        jsonschema.validate(line, schema)
        with Image.open(written / "out" / line["image"]) as photo:
            pixels = np.asarray(photo, np.float32).transpose(2, 0, 1)[None] / 255
        y, p, v, _, e, s = session.run(list(KINDS), {"image": pixels})
        answers = {answer["head"]: answer for answer in line["answers"]}
        assert {head: answer["kind"] for head, answer in answers.items()} == KINDS
        best = np.argsort(-y[0], kind="stable")[:5].tolist()
        assert [each["index"] for each in answers["y"]["top"]] == best
        scores = [each["score"] for each in answers["y"]["top"]]
        np.testing.assert_allclose(scores, softmax(y[0], 0)[best], rtol=1e-4)
        assert {each["index"]: each["above"] for each in answers["p"]["top"]} == dict(enumerate((p[0] >= 0.5).tolist()))
        for each in answers["p"]["top"]:
            assert each["score"] == pytest.approx(p[0, each["index"]], rel=1e-4)
        assert answers["v"]["values"] == [{"index": 0, "label": "0", "value": pytest.approx(v[0, 0], rel=1e-4)}]
        assert answers["v"]["unit"] is None
        assert len(answers["b"]["xyxy"]) == 4
        assert (answers["e"]["size"], len(answers["e"]["first"])) == (8, FIRST_NUMBERS)
        np.testing.assert_allclose(answers["e"]["first"], e[0], rtol=1e-4)
        assert answers["e"]["norm"] == pytest.approx(1, rel=1e-4)
        shares = np.bincount(s[0].argmax(0).ravel(), minlength=5) / s[0][0].size
        taken = {each["index"]: each["share"] for each in answers["s"]["shares"]}
        assert taken == {index: pytest.approx(share) for index, share in enumerate(shares) if share}
        assert [each["share"] for each in answers["s"]["shares"]] == sorted(taken.values(), reverse=True)


def test_a_long_vector_stays_short(written: Path) -> None:
    engine = Engine(written / "model.onnx", heads=(*HEADS, StatedHead("e", "embedding")))
    (answers,) = engine.answers(written / "0.png")
    for answer in answers:
        whole, short = answer_tree(answer, 5, 0.5), summarise_answer(answer)
        assert (short["head"], short["kind"]) == (whole["head"], whole["kind"])
        assert answer.head.kind in ("embedding", "mask") or short == whole
        assert "vector" not in short


def test_verify_names_a_head_that_answers_otherwise(written: Path) -> None:
    run = read_run(written / "out")
    assert list(verify_run(run)) == []
    recorded = {answer["head"]: answer for answer in run.lines[0]["answers"]}
    recorded["v"]["values"][0]["value"] += 1
    recorded["e"]["first"] = recorded["e"]["first"][:3]
    found = [str(difference) for difference in verify_run(run)]
    assert [text.split(": found")[0] for text in found] == [
        "../0.png head v values 0 value",
        "../0.png head e first",
    ]


def test_the_report_shows_every_head(written: Path, tmp_path: Path) -> None:
    write_report(report_of([read_run(written / "out")]), tmp_path / "report.html")
    data = data_of(tmp_path / "report.html")
    for detail, line in zip(data["details"], lines_of(written)[::2], strict=True):
        shown = {answer["head"]: answer["rows"] for answer in detail["answers"]}
        assert list(shown) == [answer["head"] for answer in line["answers"]]
        assert all(isinstance(text, str) and text for rows in shown.values() for row in rows for text in row)
        recorded = {answer["head"]: answer for answer in line["answers"]}
        assert shown["v"] == [["v", f"{recorded['v']['values'][0]['value']:.4g}"]]
        assert shown["e"][0] == ["numbers", "8"]
        assert len(shown["s"]) == len(recorded["s"]["shares"])


SHOWN = [
    ({"kind": "classes", "top": [{"index": 3, "label": "cat", "score": 0.931}]}, [["cat", "0.93"]]),
    ({"kind": "classes", "top": [{"index": 3, "label": "cat", "score": None}]}, [["cat", "–"]]),
    (
        {
            "kind": "labels",
            "min_score": 0.5,
            "top": [
                {"index": 1, "label": "smile", "score": 0.5, "above": True},
                {"index": 0, "label": "hat", "score": 0.001, "above": False},
            ],
        },
        [["smile", "0.50"], ["hat (below 0.5)", "<0.01"]],
    ),
    (
        {"kind": "labels", "min_score": 0.5, "top": [{"index": 0, "label": "0", "score": 0.7, "above": True}]},
        [["name", "0.70"]],
    ),
    ({"kind": "values", "unit": "years", "values": [{"index": 0, "label": "age", "value": 31.25}]},
     [["age", "31.25 years"]]),
    ({"kind": "values", "unit": None, "values": [{"index": 0, "label": "0", "value": None}]}, [["name", "–"]]),
    ({"kind": "box", "xyxy": [1.2, 2.6, None, 40]}, [["x1, y1, x2, y2", "1, 3, –, 40"]]),
    ({"kind": "embedding", "size": 512, "norm": 2.0, "first": [0.5, None]},
     [["numbers", "512"], ["norm", "2"], ["first", "0.5, –, …"]]),
    ({"kind": "mask", "classes": 3, "shares": [{"index": 2, "label": "road", "share": 0.25}]}, [["road", "25.0%"]]),
    ({"kind": "mask", "classes": 3, "shares": []}, [["no class", "of 3"]]),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "rows"), SHOWN)
def test_how_an_answer_is_shown(answer: dict[str, Any], rows: list[list[str]]) -> None:
    assert shown_answer({"head": "name", **answer}) == {"head": "name", "kind": answer["kind"], "rows": rows}


def test_a_number_has_its_unit_beside_the_map_too() -> None:
    answers = [{"head": "age", "kind": "values", "unit": "years", "values": []}]
    assert shown_score({"answers": answers, "head": "age", "score": 31.0}) == "31 years"
    assert shown_score({"answers": answers, "head": "y", "score": 0.5}) == "0.50"


def test_targets_of_the_page_are_told_apart_by_their_head(written: Path, tmp_path: Path) -> None:
    """The labels of two heads may be equal, and ``not dog`` bears the label of dog."""
    write_report(report_of([read_run(written / "out")]), tmp_path / "report.html")
    for detail in data_of(tmp_path / "report.html")["details"]:
        assert [each["target"] for each in detail["maps"]] == ["p:1", "v"]
