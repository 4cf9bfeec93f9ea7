"""Files without a gate: no If and no input `explain`, and the gradients of files that have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxplain.contract import ModelSpec
from onnxplain.explainers import METHODS, explain, supported
from onnxplain.exporters import instrument, measure_cost
from onnxplain.runtime import Engine
from tests.explainers.test_contract_of_methods import NEED_ASKING
from tests.exporters import test_quantized_networks as networks
from tests.exporters.onnx_models import SIZE_HW, plain_model, save

float_network = networks.float_network
FORMS: Mapping[str, Mapping[str, object]] = {
    "two layers": {"layers": ["early", "late"]},
    "required inputs": {"required_inputs": True},
    "a box": {"box": "box"},
    "a fixed batch": {"batch": "fixed"},
    "an early layer": {"layers": ["early"]},
    "quantized": {"layers": ["early", "late"]},
}
IMAGES = list(np.random.default_rng(0).integers(0, 256, (2, *SIZE_HW, 3), np.uint8))


@pytest.fixture(params=FORMS, ids=FORMS)
def files(request: pytest.FixtureRequest, float_network: Path, tmp_path: Path) -> Mapping[bool, Path]:
    """The same model with a gate and without."""
    form, plain = FORMS[request.param], tmp_path / "plain"
    if request.param == "quantized":
        networks._static(networks.QDQ)(float_network, plain)
    else:
        save(plain_model(box="box" in form, batch=1 if form.get("batch") == "fixed" else "batch"), plain)
    files = {gate: tmp_path / f"{gate}.onnx" for gate in (False, True)}
    for gate, path in files.items():
        report = instrument(plain, path, gate=gate, **form)
        assert report.spec.gated == gate
    return files


def test_there_is_no_if_and_no_explain(files: Mapping[bool, Path]) -> None:
    found = {gate: onnx.load(path).graph for gate, path in files.items()}
    for gate, graph in found.items():
        assert ("If" in {node.op_type for node in graph.node}) == gate
        assert ("explain" in {value.name for value in graph.input}) == gate
        assert ("explain" in {tensor.name for tensor in graph.initializer}) <= gate
        branches = [attribute for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
        assert bool(branches) == gate
    outputs = [[value.name for value in graph.output] for graph in found.values()]
    assert outputs[0] == outputs[1]


def test_gradients_and_weights_are_the_same(files: Mapping[bool, Path]) -> None:
    ungated, gated = (Engine(files[gate], ["cpu"]) for gate in (False, True))
    targets = [0, gated.spec.classes + 2 if gated.spec.box else 3]
    for layer in gated.spec.layers:
        one, other = (engine.activations(IMAGES, targets, layer.name) for engine in (ungated, gated))
        assert one.gradients is not None and other.gradients is not None and one.gradients.any()
        np.testing.assert_allclose(one.gradients, other.gradients, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(one.features, other.features)
    assert ungated.spec.outputs.cam_weights == gated.spec.outputs.cam_weights
    if gated.spec.outputs.cam_weights:
        np.testing.assert_array_equal(ungated.cam_weights(), gated.cam_weights())
    for one, other in zip(ungated.predict(IMAGES), gated.predict(IMAGES), strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize("files", ["two layers"], indirect=True)
def test_every_method_works(files: Mapping[bool, Path]) -> None:
    engine = Engine(files[False], ["cpu"])
    assert set(supported(engine)) == set(METHODS) - NEED_ASKING
    for method in ("cam", "grad-cam", "ablation-cam", "rise"):
        assert explain(engine, IMAGES[0], method, target=1).raw.any()


@pytest.mark.parametrize("files", ["two layers"], indirect=True)
def test_it_is_instrumented_again_and_measured(files: Mapping[bool, Path], tmp_path: Path) -> None:
    report = instrument(files[False], tmp_path / "again.onnx", layers=["early", "late"])
    assert "earlier instrumentation removed" in report.steps
    again, expected = onnx.load(tmp_path / "again.onnx"), onnx.load(files[True])
    assert sorted(node.op_type for node in again.graph.node) == sorted(node.op_type for node in expected.graph.node)
    spec = ModelSpec.from_json(onnx.load(files[False]).metadata_props[0].value)
    costs = measure_cost(tmp_path / "plain", files[False], spec)
    gated = measure_cost(tmp_path / "plain", files[True], ModelSpec.from_json(expected.metadata_props[0].value))
    assert [cost.nodes for cost in costs] == [cost.nodes for cost in gated]
    assert all(cost.closed > 0 and cost.open > 0 for cost in costs)


def test_metadata_of_older_files_mean_a_gate() -> None:
    text = '{"version": 1, "task": "classification"'
    text += ', "input": {"name": "x", "layout": "nchw", "size_hw": [2, 2], "channels": "gray", "scale": 1'
    text += ', "mean": [0], "std": [1], "resize": "crop"}, "outputs": {"logits": "y"}, "classes": 2, "box": null'
    assert ModelSpec.from_json(text + ', "layers": [], "labels": []}').gated
    assert not ModelSpec.from_json(text + ', "layers": [], "labels": [], "gated": false}').gated
