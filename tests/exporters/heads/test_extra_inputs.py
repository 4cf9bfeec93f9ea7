"""Inputs besides the image: constants with a default in the file, sizes of the image, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnxruntime as ort
import pytest

from onnxplain.contract import ExtraInput
from onnxplain.errors import OnnxplainError
from onnxplain.exporters import ExportReport, instrument, survey
from tests.exporters.graphs import relative_error
from tests.exporters.heads.graph_ends import end_model

TABLE = "float[N, 3, 32, 32] image, float[N, 8] table"
WITH_TABLE = ("j = Mul(means, table) p = Gemm(j, weights)", "float[N, 6] p")
FLAG = "float[N, 3, 32, 32] image, bool training"
SIZE = "float[N, 3, 32, 32] image, int64[N, 2] orig_target_sizes"
WITH_SIZE = ("s = Cast<to = 1>(orig_target_sizes) q = Slice(y, zeros, twice, first) p = Mul(q, s)", "float[N, 2] p")
ROW = np.linspace(-1, 1, 8, dtype=np.float32)
IMAGES = np.random.default_rng(2).random((3, 3, 32, 32)).astype(np.float32)


def instrumented(
    folder: Path, image: str, end: tuple[str, str], inputs: Mapping[str, npt.ArrayLike] | None = None, **options: Any
) -> ExportReport:
    onnx.save(end_model(*end, image=image), folder / "plain.onnx")
    return instrument(folder / "plain.onnx", folder / "out.onnx", inputs=inputs, **options)


def session(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


class TestTable:
    """A row of numbers beside the image, as in models of skin lesions that also read age and sex."""

    def test_the_constant_is_a_default_for_every_image_of_a_batch(self, tmp_path: Path) -> None:
        report = instrumented(tmp_path, TABLE, WITH_TABLE, {"table": ROW})
        assert report.spec.extra_inputs == (ExtraInput("table", "float32", (None, 8)),)
        assert report.steps == ("input table has a default",)
        plain, out = session(tmp_path / "plain.onnx"), session(report.path)
        (expected,) = plain.run(None, {"image": IMAGES, "table": np.tile(ROW, (3, 1))})
        (found,) = out.run(["p"], {"image": IMAGES})
        assert relative_error(found, expected) < 1e-6

    def test_another_value_can_be_fed_per_image_and_gradients_follow_it(self, tmp_path: Path) -> None:
        report = instrumented(tmp_path, TABLE, WITH_TABLE, {"table": ROW})
        layer, out = report.spec.layers[-1], session(report.path)
        table = np.random.default_rng(4).normal(size=(3, 8)).astype(np.float32)
        feeds = {"image": IMAGES, "table": table, "target": np.array([2]), "explain": np.array([True])}
        scores, gradients = out.run(["p", layer.gradients], feeds)
        (expected,) = session(tmp_path / "plain.onnx").run(None, {"image": IMAGES, "table": table})
        assert relative_error(scores, expected) < 1e-6
        # p_c = Σ_k w_kc table_k mean(A_k), so the gradient of a logit is w_kc table_k / (h · w).
        weights = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(report.path).graph.initializer
        }
        by_hand = (table * weights["weights"][:, 2])[:, :, None, None] / np.prod(layer.size_hw)
        assert relative_error(gradients, np.broadcast_to(by_hand, gradients.shape)) < 1e-6

    def test_a_number_stands_for_all(self, tmp_path: Path) -> None:
        report = instrumented(tmp_path, TABLE, WITH_TABLE, {"table": 0.5})
        (expected,) = session(tmp_path / "plain.onnx").run(
            None, {"image": IMAGES, "table": np.full((3, 8), 0.5, np.float32)}
        )
        (found,) = session(report.path).run(["p"], {"image": IMAGES})
        assert relative_error(found, expected) < 1e-6

    def test_renewal_keeps_the_value_or_takes_another(self, tmp_path: Path) -> None:
        report = instrumented(tmp_path, TABLE, WITH_TABLE, {"table": ROW})
        again = instrument(report.path, tmp_path / "again.onnx")
        assert again.spec.extra_inputs == report.spec.extra_inputs
        other = instrument(report.path, tmp_path / "other.onnx", inputs={"table": ROW * 2})
        first, same, doubled = (
            session(path).run(["p"], {"image": IMAGES})[0] for path in (report.path, again.path, other.path)
        )
        assert np.array_equal(first, same)
        assert relative_error(doubled, 2 * first) < 1e-6
        nodes = [
            sum(node.op_type == "Expand" for node in onnx.load(path).graph.node) for path in (report.path, again.path)
        ]
        assert nodes[0] == nodes[1]

    def test_survey_takes_values(self, tmp_path: Path) -> None:
        onnx.save(end_model(*WITH_TABLE, image=TABLE), tmp_path / "plain.onnx")
        assert [entry.name for entry in survey(tmp_path / "plain.onnx", inputs={"table": ROW})] == ["convolved", "maps"]


def test_a_flag_that_nothing_reads(tmp_path: Path) -> None:
    report = instrumented(tmp_path, FLAG, ("p = Softmax(y)", "float[N, 6] p"), {"training": False})
    assert report.spec.extra_inputs == (ExtraInput("training", "bool", ()),)
    names = [value.name for value in session(report.path).get_overridable_initializers()]
    assert names == ["training", "target", "explain"]


def test_a_flag_that_a_condition_reads_is_fixed(tmp_path: Path) -> None:
    end = (
        "p = If(training)<then_branch = t () => (float[N, 6] a) { a = Sigmoid(y) }, "
        "else_branch = e () => (float[N, 6] b) { b = Softmax(y) }>",
        "float[N, 6] p",
    )
    report = instrumented(tmp_path, FLAG, end, {"training": False})
    assert [head.kind for head in report.spec.heads] == ["classes"]
    assert "input training fixed: a condition depends on it" in report.steps
    assert report.spec.extra_inputs == ()
    found = session(report.path).run(["p"], {"image": IMAGES})[0]
    expected = session(tmp_path / "plain.onnx").run(["p"], {"image": IMAGES, "training": np.array(False)})[0]
    assert relative_error(found, expected) < 1e-6


def test_sizes_of_the_image_stay_required(tmp_path: Path) -> None:
    report = instrumented(tmp_path, SIZE, WITH_SIZE)
    assert report.spec.extra_inputs == (ExtraInput("orig_target_sizes", "int64", (None, 2), "image_size_wh"),)
    assert [value.name for value in session(report.path).get_inputs()] == ["image", "orig_target_sizes"]


REFUSED: Mapping[str, tuple[str, tuple[str, str], Mapping[str, npt.ArrayLike], str]] = {
    "no value": (TABLE, WITH_TABLE, {}, r"found no value for input table float32 \[N, 8\], expected one: give --input"),
    "another number of values": (TABLE, WITH_TABLE, {"table": np.ones(7)}, "input table .*a value of that shape"),
    "text": (TABLE, WITH_TABLE, {"table": "seven"}, "input table .*expected a value of that type"),
    "a fraction for a flag": (FLAG, ("", "float[N, 6] y"), {"training": 0.5}, "input training bool .*of that type"),
    "an input that is not there": (TABLE, WITH_TABLE, {"tabel": ROW}, "found no input tabel, expected a name among"),
    "two images": (
        "float[N, 3, 32, 32] image, float[N, 3, 32, 32] other",
        ("", "float[N, 6] y"),
        {},
        "found inputs image, other that may take images, expected one: give the others --input",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("image", "end", "inputs", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(
    image: str, end: tuple[str, str], inputs: Mapping[str, npt.ArrayLike], says: str, tmp_path: Path
) -> None:
    with pytest.raises(OnnxplainError, match=says):
        instrumented(tmp_path, image, end, inputs)
    assert [path.name for path in tmp_path.iterdir()] == ["plain.onnx"]
