from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.machine.provider_choice import check_providers, choose_providers
from onnxplain.runtime import Engine
from tests.models import write_classifier

AVAILABLE = ["CUDAExecutionProvider", "CPUExecutionProvider", "CoreMLExecutionProvider"]
CUDA, CPU, CORE_ML = AVAILABLE


@pytest.mark.parametrize(
    ("asked", "available", "expected"),
    [
        (None, AVAILABLE, [CUDA, CPU]),
        (None, [CORE_ML, CPU], [CPU]),
        (["cpu"], AVAILABLE, [CPU]),
        (["CPU"], AVAILABLE, [CPU]),
        ("cuda", AVAILABLE, [CUDA]),
        (["CUDAExecutionProvider", "cpu"], AVAILABLE, [CUDA, CPU]),
        (["coreml"], AVAILABLE, [CORE_ML]),
    ],
)
def test_providers_by_name(asked, available, expected):
    assert [choice.full_name for choice in choose_providers(asked, available)] == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["cuda"], r"found 'cuda', expected one that this ONNX Runtime has \(cpu\): run pip install"),
        (["cpu", "nonsense"], r"found 'nonsense', expected one .* \(cpu\)$"),
        ([], "providers: found none"),
    ],
)
def test_unknown_providers_are_refused(asked, message):
    with pytest.raises(OnnxplainError, match=message):
        choose_providers(asked, [CPU])


def test_a_provider_that_was_replaced_is_refused():
    check_providers([CPU], [CPU])
    check_providers([CUDA], [CUDA, CPU])
    with pytest.raises(
        OnnxplainError, match=r"found CPUExecutionProvider, expected CUDAExecutionProvider.*could not start"
    ):
        check_providers([CUDA, CPU], [CPU])


def test_an_engine_notices_that_its_provider_was_replaced(tmp_path, monkeypatch):
    path = write_classifier(tmp_path / "model.onnx")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    session_class = onnxruntime.InferenceSession

    def open_on_cpu(model, options, **_):
        return session_class(model, options, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_on_cpu)
    with pytest.raises(
        OnnxplainError, match=r"found .*, expected CUDAExecutionProvider, which ONNX Runtime could not start"
    ):
        Engine(path, providers=["cuda"])
    assert Engine(path).providers == (CPU,)


def test_a_provider_that_fails_while_starting_is_an_error_not_a_fallback(tmp_path, monkeypatch, capfd):
    path = write_classifier(tmp_path / "model.onnx")

    def fail(*_, **__):
        raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fail)
    with pytest.raises(ModelError, match="CUDA failure 100"):
        Engine(path)
    assert capfd.readouterr() == ("", "")


def test_engine_without_onnxruntime_says_what_to_install(tmp_path, monkeypatch):
    path = write_classifier(tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OnnxplainError, match=r'pip install "onnxplain\[cpu\]"'):
        Engine(path)


def test_threads(tmp_path):
    path = write_classifier(tmp_path / "model.onnx")
    assert Engine(path, threads=1).providers == (CPU,)
    with pytest.raises(OnnxplainError, match="threads: found 0"):
        Engine(path, threads=0)


def external_model(folder: Path, location: str) -> Path:
    weights = numpy_helper.from_array(np.ones((3, 4), np.float32), "weights")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "external",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def truncated(folder: Path) -> Path:
    path = write_classifier(folder / "model.onnx")
    path.write_bytes(path.read_bytes()[:-20])
    return path


def with_bytes(data: bytes):
    def write(folder: Path) -> Path:
        path = folder / "model.onnx"
        path.write_bytes(data)
        return path

    return write


def unknown_operator(folder: Path) -> Path:
    path = write_classifier(folder / "model.onnx")
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    return path


def escaping(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(np.ones((3, 4), np.float32).tobytes())
    inner = folder / "inner"
    inner.mkdir()
    return external_model(inner, "../weights.bin")


def short_external(folder: Path) -> Path:
    (folder / "weights.bin").write_bytes(b"12345")
    return external_model(folder, "weights.bin")


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (lambda folder: folder / "nothing.onnx", "found no such file"),
        (lambda folder: folder, "found a folder"),
        (with_bytes(b""), "found an empty file"),
        (with_bytes(b"this is a text, not a model"), "found a truncated file or another format"),
        (
            with_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)),
            "found a truncated file or another format (107 bytes, starting with",
        ),
        (truncated, "found a truncated file or another format"),
        (unknown_operator, "NoSuchOperator"),
        (lambda folder: external_model(folder, "missing.bin"), "found an external weights file that cannot be read"),
        (escaping, "found an external weights file that cannot be read"),
        (short_external, "found an external weights file that cannot be read"),
    ],
)
def test_unusable_files_give_one_line(tmp_path, write, found):
    path = write(tmp_path)
    with pytest.raises(ModelError) as caught:
        Engine(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: found")
    assert found in message
    assert "expected" in message
    assert "\n" not in message
    assert "ONNXRuntimeError" not in message
