"""Drift of answers of every compared kind: by hand, and of real files against what ONNX Runtime gives for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import numpy_helper
from PIL import Image

from onnxplain.cli.main import cli
from onnxplain.comparison.head_drift import HeadDrift, head_drift, in_few_words
from onnxplain.contract import HeadSpec
from onnxplain.runtime.answers import Classes, Labels, Values
from tests.exporters.heads.graph_ends import end_model
from tests.report.test_report import data_of

SAME = {0: 0, 1: 1, 2: 2}


def classes(*scores: float) -> Classes:
    return Classes(HeadSpec("y", "classes", len(scores), "y", labels=tuple("abc"[: len(scores)])), floats(scores))


def labels(*scores: float, names: str = "abc") -> Labels:
    return Labels(HeadSpec("p", "labels", len(scores), "p", labels=tuple(names[: len(scores)])), floats(scores))


def values(*numbers: float, unit: str | None = None) -> Values:
    return Values(HeadSpec("v", "values", len(numbers), "v", unit=unit), floats(numbers))


def floats(numbers: Any) -> np.ndarray:
    return np.array(numbers, np.float32)


# Two answers, shared entries, and: changed, difference of what A answers with, largest difference.
DRIFTS = [
    (classes(0.7, 0.2, 0.1), classes(0.6, 0.3, 0.1), SAME, (False, -0.1, 0.1)),
    (classes(0.7, 0.2, 0.1), classes(0.1, 0.8, 0.1), SAME, (True, -0.6, 0.6)),
    (classes(0.7, 0.2, 0.1), classes(0.1, 0.8, 0.1), {1: 0}, (None, None, 0.1)),
    (classes(0.7, 0.2, 0.1), classes(0.1, 0.8, 0.1), {}, (None, None, None)),
    (labels(0.9, 0.6, 0.1), labels(0.8, 0.55, 0.3), SAME, (False, -0.1, 0.2)),
    (labels(0.9, 0.6, 0.1), labels(0.9, 0.45, 0.1), SAME, (True, 0.0, 0.15)),
    (labels(0.3, 0.2, 0.1), labels(0.3, 0.2, 0.1), SAME, (False, 0.0, 0.0)),
    # The label that only the first model has does not count.
    (labels(0.9, 0.6, 0.1), labels(0.6, 0.1), {1: 0, 2: 1}, (False, None, 0.0)),
    (labels(0.9, 0.6, 0.1), labels(0.6, 0.1), {}, (None, None, None)),
    (values(31.0), values(29.5), {0: 0}, (False, -1.5, 1.5)),
    (values(1.0, -2.0), values(1.0, 2.0), {0: 0, 1: 1}, (False, 0.0, 4.0)),
    (values(1.0), values(1.0, 2.0), {}, (None, None, None)),
]


@pytest.mark.parametrize(("first", "second", "shared", "expected"), DRIFTS)
def test_answers_by_hand(first: Any, second: Any, shared: dict[int, int], expected: tuple[Any, ...]) -> None:
    found = head_drift(first, second, shared)
    assert found.changed is expected[0]
    assert found.difference == (None if expected[1] is None else pytest.approx(expected[1], abs=1e-6))
    assert found.largest == (None if expected[2] is None else pytest.approx(expected[2], abs=1e-6))


def test_answers_in_a_few_words() -> None:
    assert in_few_words(classes(0.7, 0.2, 0.1)).text == "a 0.70"
    assert in_few_words(labels(0.9, 0.6, 0.1)).label == "a, b"
    assert in_few_words(labels(0.4, 0.2, 0.1)).text == "none 0.40"
    assert in_few_words(labels(0.9, names="")).label == "p"
    assert in_few_words(values(31.25, unit="years")).text == "31.25 years"
    assert in_few_words(values(1, 2, 3, 4)).text == "1, 2, 3, …"


def test_a_number_that_is_not_finite_is_null() -> None:
    tree = head_drift(values(1.0), values(float("nan")), {0: 0}).to_json()
    assert json.loads(json.dumps(tree, allow_nan=False))["score_difference"] is None
    assert isinstance(head_drift(values(1.0), values(2.0), {0: 0}), HeadDrift)


FILES = {
    "labels": ("p = Sigmoid(y)", "float[N, 6] p"),
    "values": ("p = MatMul(means, two)", "float[N, 2] p"),
    "both": ("l = MatMul(means, two)  q = Sigmoid(l)  v = MatMul(means, one)",
             "float[N, 6] y, float[N, 2] q, float[N, 1] v"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAME.onnx, and NAME-other.onnx with other weights in front of the heads; two photos of the input's size."""
    folder = tmp_path_factory.mktemp("drift")
    for name, (nodes, outputs) in FILES.items():
        model = end_model(nodes, outputs)
        onnx.save(model, folder / f"{name}.onnx")
        for constant in model.graph.initializer:
            if constant.name == "kernel":
                changed = numpy_helper.to_array(constant) * np.float32(1.5)
                constant.CopyFrom(numpy_helper.from_array(changed, "kernel"))
        onnx.save(model, folder / f"{name}-other.onnx")
    for seed in range(2):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)).save(
            folder / f"{seed}.png"
        )
    return folder


def run(*words: object, exit_code: int = 0) -> Any:
    result = CliRunner().invoke(cli, [str(word) for word in words], prog_name="onnxplain")
    assert result.exit_code == exit_code, result.output
    return result


def compared(folder: Path, name: str, *options: object) -> dict[str, Any]:
    words = ("compare", folder / f"{name}.onnx", folder / f"{name}-other.onnx", folder / "0.png", folder / "1.png")
    tree: dict[str, Any] = json.loads(run(*words, "--preset", "unit", "--resize", "stretch", *options, "--json").stdout)
    return tree


def outputs_of(path: Path, photo: Path) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with Image.open(photo) as image:
        pixels = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
    return [output[0] for output in session.run(None, {"image": pixels})]


@pytest.mark.parametrize(("name", "kind"), [("labels", "labels"), ("values", "values")])
def test_labels_and_values_of_two_files(name: str, kind: str, folder: Path) -> None:
    options = ("--head", "p:values") if kind == "values" else ()
    tree = compared(folder, name, "-m", "grad-cam", *options)
    assert len(tree["images"]) == 2
    for image in tree["images"]:
        (ours,), (theirs,) = (outputs_of(folder / f"{name}{end}.onnx", Path(image["image"])) for end in ("", "-other"))
        entry = int(ours.argmax()) if kind == "labels" else 0
        assert image["score_difference"] == pytest.approx(float(theirs[entry] - ours[entry]), abs=1e-5)
        assert image["largest_difference"] == pytest.approx(float(np.abs(theirs - ours).max()), abs=1e-5)
        changed = kind == "labels" and ((ours >= 0.5) != (theirs >= 0.5)).any()
        assert image["changed"] is bool(changed)
        assert [(head["head"], head["kind"]) for head in image["heads"]] == [("p", kind)]
        assert image["heads"][0]["largest_difference"] == image["largest_difference"]
        (each,) = image["maps"]
        assert each["method"] == "grad-cam"
    assert tree["differences"] == []


def test_every_head_of_a_file_is_compared_and_its_targets_too(folder: Path) -> None:
    tree = compared(folder, "both", "-m", "grad-cam", "--target", "v", "--target", "q:1", "--target", "2")
    for image in tree["images"]:
        outputs = [outputs_of(folder / f"both{end}.onnx", Path(image["image"])) for end in ("", "-other")]
        assert [head["kind"] for head in image["heads"]] == ["classes", "labels", "values"]
        number = image["heads"][2]
        assert number["score_difference"] == pytest.approx(float(outputs[1][2][0] - outputs[0][2][0]), abs=1e-5)
        assert [each["target"] for each in image["maps"]] == ["v", "q:1", "2"]


def test_the_tables_name_the_head(folder: Path) -> None:
    files = folder / "both.onnx", folder / "both-other.onnx"
    text = run("compare", *files, folder / "0.png", "-m", "grad-cam", "--resize", "stretch").stdout
    assert text.splitlines()[:2] == [f"first: {files[0]}", f"second: {files[1]}"]
    assert "v: 1 images, largest difference of a number " in text
    assert "q: 1 images, " in text and "y: 1 images, " in text
    files = folder / "values.onnx", folder / "values-other.onnx"
    text = run("compare", *files, folder / "0.png", "-m", "grad-cam", "--head", "p:values", "--target", "p:0").stdout
    assert "changed" not in text.splitlines()[2]
    assert "largest difference of a number " in text


REFUSED = [
    ("labels", "both", (), "found a default head of classes, expected labels as in labels.onnx"),
    ("values", "values", ("--head", "p:embedding"), "found p:embedding, expected a default head of classes, labels or"),
]


@pytest.mark.parametrize(("first", "second", "options", "says"), REFUSED)
def test_heads_that_cannot_be_compared_are_named(
    first: str, second: str, options: tuple[str, ...], says: str, folder: Path
) -> None:
    words = ("compare", folder / f"{first}.onnx", folder / f"{second}.onnx", folder / "0.png", "-m", "rise", *options)
    error = run(*words, exit_code=2).stderr.splitlines()[-1]
    assert says in error, error


def test_a_report_of_labels(folder: Path, tmp_path: Path) -> None:
    files = folder / "labels.onnx", folder / "labels-other.onnx"
    run("compare", *files, folder / "0.png", "-m", "grad-cam", "--report", tmp_path / "page.html")
    data = data_of(tmp_path / "page.html")
    remarks = dict(data["details"][0]["remarks"])
    assert float(remarks["score, second − first"]) != 0
    assert "models disagree" in data["images"][0]["concerns"] or "changed" not in remarks
