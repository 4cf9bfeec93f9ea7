"""Old files made new: a freed batch, a second instrumentation; what a file offers and what a gradient costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime as ort
import pytest

from onnxplain.contract import PRESETS
from onnxplain.errors import ModelError, UnsupportedError, VerificationError
from onnxplain.exporters import instrument, measure_cost, survey
from tests.exporters.onnx_models import CLASSES, MAPS, SIZE_HW, node, plain_model


def _save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def _with_reshape(sizes: list[int]) -> onnx.ModelProto:
    """The plain model with its batch fixed, a Reshape of constant sizes in place of Flatten."""
    model = plain_model(batch=1)
    model.graph.node[5].CopyFrom(node("Reshape", ["pooled", "sizes"], ["means"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(sizes), "sizes"))
    return model


def _mixing_images() -> onnx.ModelProto:
    """A model whose output depends on the other images of a batch: it subtracts their mean."""
    model = plain_model(batch=1)
    model.graph.node[6].output[0] = "own"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "axis"))
    model.graph.node.append(node("ReduceSum", ["own", "axis"], ["all"], keepdims=1))
    model.graph.node.append(node("Add", ["own", "all"], ["logits"]))
    return model


class TestBatch:
    @pytest.mark.parametrize("sizes", [[1, MAPS], [1, -1], [-1, MAPS]])
    def test_it_becomes_dynamic_where_a_batch_gives_what_its_images_give(self, sizes: list[int], tmp_path: Path):
        plain = _save(_with_reshape(sizes), tmp_path / "plain.onnx")
        report = instrument(plain, tmp_path / "out.onnx")
        assert "batch 1 → dynamic" in report.steps
        session = ort.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
        images = np.random.default_rng(0).standard_normal((4, 3, *SIZE_HW)).astype(np.float32)
        targets = np.array([0, 1, 2, 1])
        gradients, logits = session.run(
            ["gradients/late", "logits"], {"image": images, "target": targets, "explain": np.array([True])}
        )
        single = ort.InferenceSession(plain, providers=["CPUExecutionProvider"])
        expected = np.concatenate([single.run(["logits"], {"image": image[None]})[0] for image in images])
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
        assert gradients.shape == (4, MAPS, *SIZE_HW)
        np.testing.assert_array_equal(gradients[1], gradients[3])

    def test_it_stays_fixed_where_images_would_mix_and_the_report_says_so(self, tmp_path: Path):
        report = instrument(_save(_mixing_images(), tmp_path / "plain.onnx"), tmp_path / "out.onnx")
        assert not any("batch" in step for step in report.steps)
        assert any(note.startswith("the batch stays fixed to 1: output 'logits' differs") for note in report.notes)
        session = ort.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape == [1, 3, *SIZE_HW]

    def test_dynamic_on_demand_or_not_at_all(self, tmp_path: Path):
        plain = _save(_mixing_images(), tmp_path / "plain.onnx")
        with pytest.raises(VerificationError, match=r"'dynamic batch' failed.*--batch fixed"):
            instrument(plain, tmp_path / "out.onnx", batch="dynamic")
        assert not (tmp_path / "out.onnx").exists()


class TestAgain:
    def test_an_explainable_file_becomes_the_same_as_its_original_would(self, tmp_path: Path):
        plain = _save(plain_model(), tmp_path / "plain.onnx")
        labels = [f"class {index}" for index in range(CLASSES)]
        instrument(plain, tmp_path / "one.onnx", layers=["early"], labels=labels, preprocessing=PRESETS["caffe"])
        report = instrument(tmp_path / "one.onnx", tmp_path / "two.onnx", layers=["late"])
        assert report.steps == ("earlier instrumentation removed",)
        assert report.spec.labels == tuple(labels)
        assert report.spec.input.preprocessing == PRESETS["caffe"]
        assert [layer.name for layer in report.spec.layers] == ["late"]
        fresh = instrument(
            plain, tmp_path / "three.onnx", layers=["late"], labels=labels, preprocessing=PRESETS["caffe"]
        )
        assert report.spec == replace(fresh.spec, tail=replace(fresh.spec.tail, file="two.tail.onnx"))
        names = [
            [value.name for value in (*proto.graph.input, *proto.graph.output)]
            for proto in (onnx.load(tmp_path / "two.onnx"), onnx.load(tmp_path / "three.onnx"))
        ]
        assert names[0] == names[1]

    def test_the_box_head_is_remembered(self, tmp_path: Path):
        plain = _save(plain_model(box=True), tmp_path / "plain.onnx")
        first = instrument(plain, tmp_path / "one.onnx", box="box", box_format="xyxy")
        again = instrument(tmp_path / "one.onnx", tmp_path / "two.onnx")
        assert again.spec.box == first.spec.box
        assert again.spec.task == "localization"

    def test_required_inputs_can_be_taken_back(self, tmp_path: Path):
        plain = _save(plain_model(), tmp_path / "plain.onnx")
        instrument(plain, tmp_path / "one.onnx", required_inputs=True)
        instrument(tmp_path / "one.onnx", tmp_path / "two.onnx")
        session = ort.InferenceSession(tmp_path / "two.onnx", providers=["CPUExecutionProvider"])
        assert [value.name for value in session.get_inputs()] == ["image"]


def test_every_step_is_named(tmp_path: Path):
    model = plain_model(opset=11, ir_version=6, batch=1, listed_initializers=True)
    report = instrument(_save(model, tmp_path / "plain.onnx"), tmp_path / "out.onnx")
    assert report.steps == (
        "opset 11 → 18",
        f"{len(model.graph.initializer)} initializers are no longer inputs",
        "batch 1 → dynamic",
    )


def test_survey_lists_maps_shares_and_methods(tmp_path: Path):
    found = survey(_save(plain_model(), tmp_path / "plain.onnx"))
    assert [candidate.name for candidate in found] == ["conv1", "early", "conv2", "late"]
    first, second = 4 * 3 * 9, MAPS * 4 * 9
    assert [candidate.share for candidate in found] == pytest.approx([first / (first + second)] * 2 + [1.0] * 2)
    assert [candidate.chosen for candidate in found] == [False, False, False, True]
    assert found[-1].methods == ("cam", "grad-cam", "rise")
    assert found[0].methods == ("grad-cam", "rise")


def test_survey_says_where_gradients_end(tmp_path: Path):
    model = plain_model(batch=1)
    model.graph.node[4].CopyFrom(node("MaxRoiPool", ["late", "region"], ["pooled"], pooled_shape=[1, 1]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([[0, 0, 0, 5, 7]], np.float32), "region"))
    assert {candidate.methods for candidate in survey(_save(model, tmp_path / "plain.onnx"))} == {("rise",)}


def test_cost_tells_each_layer(tmp_path: Path):
    plain = _save(plain_model(), tmp_path / "plain.onnx")
    report = instrument(plain, tmp_path / "out.onnx", layers=["early", "late"])
    early, late = measure_cost(plain, report.path, report.spec)
    assert (early.layer, late.layer) == ("early", "late")
    assert early.nodes > late.nodes > 0
    assert min(early.closed, early.open, late.closed, late.open) > 0


class TestBadGraphs:
    def test_a_cycle_is_named(self, tmp_path: Path):
        model = plain_model()
        model.graph.node[0].input[0] = "turned"
        model.graph.node.append(node("Identity", ["conv1"], ["turned"]))
        with pytest.raises(ModelError, match="value 'turned' of node 'Conv' depends on itself"):
            instrument(_save(model, tmp_path / "plain.onnx"), tmp_path / "out.onnx")

    def test_contradicting_shapes_are_named(self, tmp_path: Path):
        model = plain_model()
        for tensor in model.graph.initializer:
            if tensor.name == "weights":
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((CLASSES, MAPS + 1), np.float32), "weights"))
        with pytest.raises(VerificationError, match=r"original model.*Gemm"):
            instrument(_save(model, tmp_path / "plain.onnx"), tmp_path / "out.onnx")

    @pytest.mark.parametrize("operator", ["Round", "Floor"])
    def test_a_rounding_on_every_path_is_named(self, operator: str, tmp_path: Path):
        model = plain_model()
        model.graph.node[3].CopyFrom(node(operator, ["conv2"], ["late"]))
        with pytest.raises(UnsupportedError, match=f"identically zero.*{operator} 'late'"):
            instrument(_save(model, tmp_path / "plain.onnx"), tmp_path / "out.onnx", layers=["early"])
