"""`serve-config triton`: what is written, read by protobuf's own text parser with Triton's field numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from onnxplain.contract import ModelSpec
from onnxplain.exporters import instrument
from tests.exporters.onnx_models import plain_model, save

FIELD = descriptor_pb2.FieldDescriptorProto
STRING, INT32, INT64, BOOL = FIELD.TYPE_STRING, FIELD.TYPE_INT32, FIELD.TYPE_INT64, FIELD.TYPE_BOOL
# Messages of Triton's model_config.proto, as far as we write them: field → number, type, repeated.
MESSAGES: dict[str, dict[str, tuple[int, int | str, bool]]] = {
    "Reshape": {"shape": (1, INT64, True)},
    "Input": {
        "name": (1, STRING, False),
        "data_type": (2, "DataType", False),
        "dims": (4, INT64, True),
        "reshape": (5, "Reshape", False),
        "optional": (8, BOOL, False),
    },
    "Output": {
        "name": (1, STRING, False),
        "data_type": (2, "DataType", False),
        "dims": (3, INT64, True),
        "label_filename": (4, STRING, False),
        "reshape": (5, "Reshape", False),
    },
    "Batching": {"preferred_batch_size": (1, INT32, True)},
    "Parameter": {"string_value": (1, STRING, False)},
    "Entry": {"key": (1, STRING, False), "value": (2, "Parameter", False)},
    "Config": {
        "name": (1, STRING, False),
        "max_batch_size": (4, INT32, False),
        "input": (5, "Input", True),
        "output": (6, "Output", True),
        "dynamic_batching": (11, "Batching", False),
        "parameters": (14, "Entry", True),
        "backend": (17, STRING, False),
    },
}
TYPES = ["TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8"]
TYPES += ["TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16"]
NUMPY = {"TYPE_FP32": np.float32, "TYPE_INT64": np.int64, "TYPE_BOOL": np.bool_}


def config_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="config.proto", package="t", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for number, name in enumerate(TYPES):
        kinds.value.add(name=name, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
            if isinstance(kind, int):
                message.field.add(name=field, number=number, label=label, type=kind)
            else:
                wide = FIELD.TYPE_ENUM if kind == "DataType" else FIELD.TYPE_MESSAGE
                message.field.add(name=field, number=number, label=label, type=wide, type_name=f".t.{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Config"))


CONFIG = config_class()


def read_config(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), CONFIG())


def tensors(values: Any) -> dict[str, tuple[str, list[int]]]:
    return {value.name: (TYPES[value.data_type], list(value.dims)) for value in values}


@pytest.fixture
def explainable(tmp_path: Path) -> Path:
    save(plain_model(), tmp_path / "plain.onnx")
    labels = ["a cat", 'a "dog"', "Käfer", "back\\slash", "e"]
    instrument(tmp_path / "plain.onnx", tmp_path / "net.onnx", layers=["early", "late"], labels=labels)
    return tmp_path / "net.onnx"


def check_against_onnx_runtime(folder: Path, config: Any) -> None:
    """What Triton checks when it loads the model: names, types and dimensions, with the batch in front."""
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    required = {value.name for value in session.get_inputs()}
    known = {value.name: value for value in (*session.get_inputs(), *session.get_overridable_initializers())}
    assert {value.name for value in config.input if not value.optional} == required
    outputs = {value.name: value for value in session.get_outputs()}
    for declared, table in ((config.input, known), (config.output, outputs)):
        for value in declared:
            found = [size if isinstance(size, int) else -1 for size in table[value.name].shape]
            stated = list(value.reshape.shape if value.HasField("reshape") else value.dims)
            assert ([-1, *stated] if config.max_batch_size else stated) == found, value.name


def test_two_entries_that_triton_would_load(run, explainable: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    result = run("serve-config", "triton", explainable, "-o", repository, "--max-batch", 16)
    assert result.exit_code == 0, result.stderr
    assert "net: written for triton, batches of up to 16" in result.stdout
    plain, explain = (read_config(repository / name) for name in ("net", "net_explain"))
    assert (plain.name, plain.backend, plain.max_batch_size) == ("net", "onnxruntime", 16)
    assert plain.HasField("dynamic_batching") and not explain.HasField("dynamic_batching")
    assert tensors(plain.input) == {"image": ("TYPE_FP32", [3, 8, 6])}
    assert tensors(plain.output) == {"logits": ("TYPE_FP32", [5])}
    assert (explain.name, explain.max_batch_size) == ("net_explain", 0)
    assert tensors(explain.input) == {
        "image": ("TYPE_FP32", [-1, 3, 8, 6]),
        "target": ("TYPE_INT64", [-1]),
        "explain": ("TYPE_BOOL", [-1]),
    }
    assert [value.name for value in explain.input if value.optional] == ["target", "explain"]
    assert {"gradients/early", "features/late", "cam_weights"} <= set(tensors(explain.output))
    for config in (plain, explain):
        check_against_onnx_runtime(repository / config.name, config)
        assert [value.label_filename for value in config.output if value.name == "logits"] == ["labels.txt"]
    lines = (repository / "net" / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["a cat", 'a "dog"', "Käfer", "back\\slash", "e"]
    (parameter,) = explain.parameters
    assert parameter.key == "onnxplain"
    assert ModelSpec.from_json(parameter.value.string_value).labels == tuple(lines)


def test_the_plain_entry_answers_as_the_model(run, explainable: Path, tmp_path: Path) -> None:
    run("serve-config", "triton", explainable, "-o", tmp_path / "repository", "--name", "my-net.v2")
    image = np.random.default_rng(0).standard_normal((3, 3, 8, 6)).astype(np.float32)
    files = (tmp_path / "plain.onnx", tmp_path / "repository" / "my-net.v2" / "1" / "model.onnx")
    sessions = [onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files]
    one, other = (session.run(None, {"image": image}) for session in sessions)
    np.testing.assert_array_equal(one[0], other[0])
    assert "If" not in {node.op_type for node in onnx.load(files[1]).graph.node}


@pytest.mark.parametrize(
    ("form", "optional", "batches"),
    [
        ({"required_inputs": True}, [], True),
        ({"gate": False}, ["target"], True),
        ({"batch": "fixed"}, ["target", "explain"], False),
    ],
)
def test_other_forms_of_files(run, tmp_path: Path, form: dict[str, Any], optional: list[str], batches: bool) -> None:
    save(plain_model(batch=1 if "batch" in form else "batch"), tmp_path / "plain.onnx")
    instrument(tmp_path / "plain.onnx", tmp_path / "net.onnx", **form)
    run("serve-config", "triton", tmp_path / "net.onnx", "-o", tmp_path / "repository")
    plain, explain = (read_config(tmp_path / "repository" / name) for name in ("net", "net_explain"))
    assert [value.name for value in explain.input if value.optional] == optional
    assert (plain.max_batch_size > 0) == plain.HasField("dynamic_batching") == batches
    for config in (plain, explain):
        check_against_onnx_runtime(tmp_path / "repository" / config.name, config)
    assert not (tmp_path / "repository" / "net" / "labels.txt").exists()


def test_what_is_refused(run, explainable: Path, tmp_path: Path) -> None:
    wrong = run("serve-config", "triton", tmp_path / "plain.onnx", "-o", tmp_path / "r")
    assert wrong.exit_code == 2 and "found a plain file, expected an explainable one" in wrong.stderr
    assert not (tmp_path / "r").exists()
    run("serve-config", "triton", explainable, "-o", tmp_path / "r")
    twice = run("serve-config", "triton", explainable, "-o", tmp_path / "r")
    assert twice.exit_code == 2 and "found an entry, expected none" in twice.stderr
    named = run("serve-config", "triton", explainable, "-o", tmp_path / "s", "--name", "../net")
    assert named.exit_code == 2 and "name: found '../net'" in named.stderr
    assert run("serve-config", "torchserve", explainable, "-o", tmp_path / "s").exit_code == 2
    (tmp_path / "file").write_text("mine")
    assert run("serve-config", "triton", explainable, "-o", tmp_path / "file" / "x").exit_code == 2
