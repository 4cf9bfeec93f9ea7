"""What ONNX Runtime is given to load for the OpenVINO provider, which takes defaults of inputs for constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from onnxplain.contract import EXPLAIN_INPUT, TARGET_INPUT
from onnxplain.errors import ModelError
from onnxplain.exporters import instrument
from onnxplain.machine.providers import OPENVINO
from onnxplain.runtime import Engine
from tests.exporters.onnx_models import plain_model, save
from tests.models import write_classifier

CPU = "CPUExecutionProvider"
IMAGES = list(np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), np.uint8))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What sessions for OpenVINO were made of; they run on the CPU provider, where every input must be fed."""
    sources: list[object] = []
    session_class = onnxruntime.InferenceSession

    class Session(session_class):
        def __init__(self, source: object, options: object, providers: list[object], **_: object) -> None:
            self.asked = [provider if isinstance(provider, str) else provider[0] for provider in providers]
            if OPENVINO in self.asked:
                sources.append(source)
            super().__init__(source, options, providers=[CPU])

        def get_providers(self) -> list[str]:
            return self.asked

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [OPENVINO, CPU])
    return sources


@pytest.fixture
def explainable(tmp_path: Path) -> Path:
    path = tmp_path / "explainable.onnx"
    instrument(save(plain_model(), tmp_path / "plain.onnx"), path, layers=["early", "late"])
    return path


def assert_same_answers(path: Path) -> None:
    """Both engines open both gates, and give the same."""
    found, expected = Engine(path, ["openvino"]), Engine(path, ["cpu"])
    for layer in ("early", "late"):
        one, other = (engine.activations(IMAGES, [0, 3], layer) for engine in (found, expected))
        assert one.gradients is not None and other.gradients is not None and one.gradients.any()
        np.testing.assert_array_equal(one.gradients, other.gradients)
        np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(found.cam_weights(), expected.cam_weights())
    for one, other in zip(found.predict(IMAGES), expected.predict(IMAGES), strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


def test_the_two_defaults_are_dropped_and_nothing_else(loaded: list[object], explainable: Path) -> None:
    assert_same_answers(explainable)
    (source,) = loaded
    assert isinstance(source, bytes)
    model = onnx.load(explainable)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in (TARGET_INPUT, EXPLAIN_INPUT)]
    assert len(kept) == len(model.graph.initializer) - 2
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    assert onnx.load_from_string(source) == model


def test_weights_in_another_file_are_found(loaded: list[object], explainable: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    model = onnx.load(explainable)
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=100)
    (folder / "explainable.tail.onnx").write_bytes((tmp_path / "explainable.tail.onnx").read_bytes())
    assert (folder / "weights.bin").stat().st_size > 100
    assert_same_answers(folder / "model.onnx")
    assert isinstance(loaded[0], bytes)


def test_files_without_defaults_are_loaded_as_they_are(loaded: list[object], tmp_path: Path) -> None:
    plain = write_classifier(tmp_path / "plain.onnx")
    required = tmp_path / "required.onnx"
    instrument(save(plain_model(), tmp_path / "source.onnx"), required, layers=["early", "late"], required_inputs=True)
    Engine(plain, ["openvino"])
    assert_same_answers(required)
    assert loaded == [str(plain), str(required)]
    tail = Engine(required, ["openvino"]).tail
    assert loaded[-1] == str(tail.path)


def test_a_constant_among_the_outputs_is_refused(loaded: list[object], explainable: Path) -> None:
    model = onnx.load(explainable)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((5, 6), np.float32), "cam_weights"))
    save(model, explainable)
    with pytest.raises(
        ModelError, match=r"explainable.onnx: found the constants cam_weights among .* or ask for `cpu`"
    ):
        Engine(explainable, ["openvino"])
    assert not loaded


@pytest.mark.parametrize("data", [b"this is a text, not a model", b"\x3a\x7fabc"])
def test_a_file_that_is_no_model(loaded: list[object], data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.onnx: found a truncated file or another format"):
        Engine(path, ["openvino"])
