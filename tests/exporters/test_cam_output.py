"""The output `cam_weights`: behind a gate, stored once, and no constant among the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime as ort
import pytest

from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from tests.exporters.graphs import open_session
from tests.exporters.onnx_models import CLASSES, MAPS, SIZE_HW, WEIGHTS, plain_model, save

IMAGE = np.ones((1, 3, *SIZE_HW), np.float32)
FORMS: Mapping[str, Mapping[str, object]] = {
    "one layer": {},
    "two layers": {"layers": ["early", "late"]},
    "required inputs": {"required_inputs": True},
    "a box": {"box": "box"},
    "a fixed batch": {"batch": "fixed"},
}


@pytest.fixture(params=FORMS, ids=FORMS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An explainable file of that form."""
    form = FORMS[request.param]
    model = plain_model(box="box" in form, batch=1 if form.get("batch") == "fixed" else "batch")
    instrument(save(model, tmp_path / "plain.onnx"), tmp_path / "out.onnx", **form)
    return tmp_path / "out.onnx"


def _weights_of(graph: onnx.GraphProto) -> int:
    """How often the head's weights are stored in a graph and its branches."""
    found = sum(
        np.array_equal(onnx.numpy_helper.to_array(tensor), weights)
        for tensor in graph.initializer
        for weights in (WEIGHTS, WEIGHTS.T)
    )
    branches = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return found + sum(map(_weights_of, branches))


def test_no_output_is_a_constant(written: Path) -> None:
    graph = onnx.load(written).graph
    assert not {value.name for value in graph.output} & {tensor.name for tensor in graph.initializer}


def test_the_weights_are_stored_once(written: Path, tmp_path: Path) -> None:
    assert _weights_of(onnx.load(written).graph) == 1
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(written, options, providers=["CPUExecutionProvider"])
    assert _weights_of(onnx.load(tmp_path / "optimised.onnx").graph) == 1


def test_the_gate_of_their_layer_shows_them(written: Path) -> None:
    session, engine = open_session(written), Engine(written, ["cpu"])
    layers = [layer.name for layer in engine.spec.layers]
    for index, layer in enumerate(layers):
        feeds = {"image": IMAGE, "target": np.array([-1]), "explain": np.arange(len(layers)) == index}
        (found,) = session.run(["cam_weights"], feeds)
        expected = WEIGHTS if layer == engine.spec.outputs.cam_layer else np.zeros((0, MAPS), np.float32)
        np.testing.assert_array_equal(found, expected)
    closed = {"image": IMAGE, "target": np.array([-1]), "explain": np.array([False])}
    assert session.run(["cam_weights"], closed)[0].shape == (0, MAPS)
    np.testing.assert_array_equal(engine.cam_weights(), WEIGHTS)


def test_weights_that_are_stored_in_another_form_are_stored_for_the_output(tmp_path: Path) -> None:
    model = plain_model()
    model.graph.node[-1].attribute[0].i = 0
    (stored,) = [tensor for tensor in model.graph.initializer if tensor.name == "weights"]
    stored.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(WEIGHTS.T), "weights"))
    instrument(save(model, tmp_path / "plain.onnx"), tmp_path / "out.onnx")
    weights = Engine(tmp_path / "out.onnx", ["cpu"]).cam_weights()
    np.testing.assert_array_equal(weights, WEIGHTS)
    assert weights.shape == (CLASSES, MAPS)


def test_a_constant_output_of_an_older_file_is_read_and_replaced(tmp_path: Path) -> None:
    """What version 1 wrote: the weights themselves are the output."""
    instrument(save(plain_model(), tmp_path / "plain.onnx"), tmp_path / "out.onnx")
    older = onnx.load(tmp_path / "out.onnx")
    (gate,) = [node for node in older.graph.node if node.output[0] == "cam_weights"]
    older.graph.node.remove(gate)
    for item in (*older.graph.initializer, *older.graph.node):
        if getattr(item, "name", "") == "weights":
            item.name = "cam_weights"
        if isinstance(item, onnx.NodeProto):
            item.input[:] = ["cam_weights" if name == "weights" else name for name in item.input]
    for node in older.graph.node:
        for attribute in node.attribute:
            for inner in attribute.g.node:
                inner.input[:] = ["cam_weights" if name == "weights" else name for name in inner.input]
    save(older, tmp_path / "older.onnx")
    assert "cam_weights" in {tensor.name for tensor in older.graph.initializer}
    np.testing.assert_array_equal(Engine(tmp_path / "older.onnx", ["cpu"]).cam_weights(), WEIGHTS)
    instrument(tmp_path / "older.onnx", tmp_path / "again.onnx")
    assert "cam_weights" not in {tensor.name for tensor in onnx.load(tmp_path / "again.onnx").graph.initializer}
    np.testing.assert_array_equal(Engine(tmp_path / "again.onnx", ["cpu"]).cam_weights(), WEIGHTS)
