"""Which options make a provider compute in which precision, and who is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.runtime import Engine
from onnxplain.runtime.sessions.precision import apply_precision
from tests.models import write_classifier

OPENVINO, CPU, CUDA = "OpenVINOExecutionProvider", "CPUExecutionProvider", "CUDAExecutionProvider"
ARM64_KEY = "mlas.enable_gemm_fastmath_arm64_bfloat16"


class SessionOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


def openvino_options(provider) -> dict:
    name, options = provider
    assert name == OPENVINO
    return json.loads(options["load_config"])["CPU"]


@pytest.mark.parametrize(
    ("precision", "threads", "expected"),
    [
        ("float32", None, {"INFERENCE_PRECISION_HINT": "f32"}),
        ("float32", 2, {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}),
        ("bfloat16", 2, {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 2}),
    ],
)
def test_openvino_never_chooses_its_precision_by_itself(precision, threads, expected):
    openvino, cpu = apply_precision(precision, [OPENVINO, CPU], threads, SessionOptions())
    assert openvino_options(openvino) == expected
    assert cpu == CPU


@pytest.mark.parametrize(
    ("precision", "machine", "entries"),
    [
        ("float32", "aarch64", {}),
        ("float32", "x86_64", {}),
        ("bfloat16", "aarch64", {ARM64_KEY: "1"}),
        ("bfloat16", "ARM64", {ARM64_KEY: "1"}),
    ],
)
def test_the_cpu_provider_on_arm64(precision, machine, entries, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: machine)
    options = SessionOptions()
    assert apply_precision(precision, [CPU], 2, options) == [CPU]
    assert options.entries == entries


@pytest.mark.parametrize(
    ("precision", "providers", "message"),
    [
        ("bfloat16", [CPU], r"found bfloat16 for CPUExecutionProvider on x86_64, expected the openvino provider"),
        ("bfloat16", [CUDA, CPU], r"found bfloat16 for CUDAExecutionProvider, CPUExecutionProvider"),
        ("float16", [CPU], r"precision: found 'float16', expected float32 or bfloat16"),
    ],
)
def test_a_precision_that_no_provider_offers_is_refused(precision, providers, message, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(OnnxplainError, match=message):
        apply_precision(precision, providers, None, SessionOptions())


def test_an_engine_passes_its_precision_on(tmp_path, monkeypatch):
    path = write_classifier(tmp_path / "model.onnx")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(OnnxplainError, match="found bfloat16"):
        Engine(path, ["cpu"], precision="bfloat16")
    # The key of ARM64 is accepted and without effect on other processors.
    plain = Engine(path, ["cpu"])
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    coarse = Engine(path, ["cpu"], precision="bfloat16")
    image = np.full((*plain.spec.input.size_hw, 3), 77, np.uint8)
    np.testing.assert_allclose(coarse.predict(image)[0].scores, plain.predict(image)[0].scores, atol=0.01)
