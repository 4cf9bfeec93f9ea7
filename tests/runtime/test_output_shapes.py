"""Roles that point to other outputs: the graph's declared shapes and each run's arrays have to fit the metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxplain.errors import ModelError
from onnxplain.runtime import Engine
from tests.models import ExplainableModel
from tests.runtime.test_spec import rewrite_metadata

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"logits": "logits"', '"logits": "box"', "with several roles"),
        ('"kind": "box", "size": 4', '"kind": "box", "size": 5', "found 5 entries"),
        ('"channels": 3, "size_hw": [6, 8]', '"channels": 3, "size_hw": [8, 6]', "found shape"),
        ('"channels": 3, "size_hw": [6, 8]', '"channels": 4, "size_hw": [6, 8]', "found shape"),
    ],
)
def test_metadata_that_contradict_the_graph(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = ExplainableModel().write(tmp_path / "model.onnx")
    rewrite_metadata(path, old, new)
    with pytest.raises(ModelError, match=says):
        Engine(path)


@pytest.mark.parametrize("output", ["logits", "box", "features/fine", "gradients/fine", "cam_weights"])
def test_a_run_is_checked_where_the_graph_declares_nothing(tmp_path: Path, output: str) -> None:
    path = ExplainableModel().write(tmp_path / "model.onnx")
    model = onnx.load(path)
    # How many columns are left is known in a run only.
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([True]), "first"))
    model.graph.node.append(onnx.helper.make_node("Compress", [output, "first"], ["wrong"], axis=1))
    model.graph.output.add(name="wrong").type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, path)
    key = {"cam_weights": "weights", "box": "logits"}.get(output, output.partition("/")[0])
    rewrite_metadata(path, f'"{key}": "{output}"', f'"{key}": "wrong"')
    engine = Engine(path)
    with pytest.raises(ModelError, match=r"output wrong: found .*expected .* as in the metadata"):
        engine.activations(IMAGE, layer="fine")
        engine.predict(IMAGE)
        engine.cam_weights()
