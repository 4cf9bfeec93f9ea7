"""A model repository for Triton Inference Server: the plain model, and the explainable one beside it.

Triton batches requests only for models without optional inputs. So the plain entry has dynamic batching, and the entry
that explains takes whole batches as they come (``max_batch_size: 0``), with `target` and `explain` optional.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from onnxplain.contract import ModelSpec
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.exporters.file.model_file import load_proto, write_protos
from onnxplain.exporters.file.strip import earlier_spec, strip_instrumentation
from onnxplain.files.atomic import write_atomically

EXPLAIN_SUFFIX = "_explain"
TRITON_LABELS = "labels.txt"
DEFAULT_MAX_BATCH = 8
METADATA_PARAMETER = "onnxplain"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TYPES: Mapping[int, str] = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.FLOAT16: "TYPE_FP16",
    onnx.TensorProto.DOUBLE: "TYPE_FP64",
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.INT8: "TYPE_INT8",
    onnx.TensorProto.INT32: "TYPE_INT32",
    onnx.TensorProto.INT64: "TYPE_INT64",
    onnx.TensorProto.BOOL: "TYPE_BOOL",
}


@dataclass(frozen=True)
class TritonEntry:
    """A model of the repository: its folder, and the largest batch that Triton forms (0: it forms none)."""

    folder: Path
    max_batch: int


def write_triton_repository(
    source: Path, repository: Path, name: str | None = None, max_batch: int = DEFAULT_MAX_BATCH
) -> tuple[TritonEntry, TritonEntry]:
    """Write the entries NAME and NAME_explain for an explainable file; the default name is the file's.

    NAME holds the model without what `instrument` added. `max_batch`: the largest batch that Triton forms of requests
    to it; a model whose batch is fixed, or that has no batch axis, gets none. Labels become the label file of the
    outputs of classes, the file's metadata the parameter ``onnxplain`` of NAME_explain. Raises ModelError for a file
    that is not explainable, OnnxplainError for another form of name, and if an entry exists.
    """
    name = source.stem if name is None else name
    if not _NAME.fullmatch(name):
        raise OnnxplainError(f"name: found {name!r}, expected letters, digits, dots, dashes, underscores: --name NAME")
    if max_batch < 1:
        raise OnnxplainError(f"max_batch: found {max_batch}, expected 1 or more")
    proto = load_proto(source)
    spec = earlier_spec(proto)
    if spec is None or not spec.layers:
        raise ModelError(f"{source}: found a plain file, expected an explainable one: run onnxplain instrument first")
    plain = strip_instrumentation(proto, spec)
    entries = (
        TritonEntry(repository / name, max_batch if _forms_batches(plain) else 0),
        TritonEntry(repository / f"{name}{EXPLAIN_SUFFIX}", 0),
    )
    for entry in entries:
        if entry.folder.exists():
            raise OnnxplainError(
                f"{entry.folder}: found an entry, expected none: remove it, or choose another --name or repository"
            )
    for entry, model in zip(entries, (plain, proto), strict=True):
        _write(entry, model, spec, metadata=model is proto)
    return entries


def triton_config(
    model: onnx.ModelProto, spec: ModelSpec, name: str, max_batch: int, *, labelled: bool, metadata: bool
) -> str:
    """The text of config.pbtxt. With a `max_batch` of 0 the dimensions include the batch.

    `labelled`: the outputs of the default head's classes name the label file. `metadata`: those of the file become a
    parameter.
    """
    defaults = {tensor.name for tensor in model.graph.initializer}
    heads = {spec.head.name, spec.head.logits, spec.head.scores}
    lines = [f"name: {_text(name)}", 'backend: "onnxruntime"', f"max_batch_size: {max_batch}"]
    for value in model.graph.input:
        # With batches Triton takes no optional inputs: the default of such an input holds.
        if value.name not in defaults or not max_batch:
            lines.append(_tensor("input", value, max_batch, ["optional: true"] if value.name in defaults else []))
    for value in model.graph.output:
        more = [f"label_filename: {_text(TRITON_LABELS)}"] if labelled and value.name in heads else []
        lines.append(_tensor("output", value, max_batch, more))
    if max_batch > 1:
        lines.append("dynamic_batching { }")
    if metadata:
        lines.append(
            f"parameters {{\n  key: {_text(METADATA_PARAMETER)}\n"
            f"  value: {{ string_value: {_text(spec.to_json())} }}\n}}"
        )
    return "\n".join([*lines, ""])


def _write(entry: TritonEntry, model: onnx.ModelProto, spec: ModelSpec, *, metadata: bool) -> None:
    version = entry.folder / "1"
    try:
        version.mkdir(parents=True)
    except OSError as error:
        raise OnnxplainError(f"{version}: cannot be made ({error.strerror}): choose another folder") from error
    labels = spec.labels if spec.head.kind in ("classes", "labels") else ()
    write_protos({version / "model.onnx": model})
    if labels:
        # One label per line.
        text = "".join(f"{' '.join(label.split())}\n" for label in labels)
        write_atomically(entry.folder / TRITON_LABELS, text.encode())
    config = triton_config(model, spec, entry.folder.name, entry.max_batch, labelled=bool(labels), metadata=metadata)
    write_atomically(entry.folder / "config.pbtxt", config.encode())


def _forms_batches(model: onnx.ModelProto) -> bool:
    """Whether every input that has no default, and every output, begins with one open axis."""
    defaults = {tensor.name for tensor in model.graph.initializer}
    values = [*(value for value in model.graph.input if value.name not in defaults), *model.graph.output]
    return all(_dims(value)[:1] == [-1] for value in values)


def _tensor(kind: str, value: onnx.ValueInfoProto, max_batch: int, more: Sequence[str]) -> str:
    elem = value.type.tensor_type.elem_type
    if elem not in _TYPES:
        raise ModelError(
            f"{kind} {value.name!r}: found the type {onnx.TensorProto.DataType.Name(elem).lower()}, expected one that "
            "Triton serves: change the model"
        )
    dims = _dims(value)[1 if max_batch else 0 :]
    # Triton has no empty dims: one number per image, or a single number.
    shape = [f"dims: {dims or [1]}", *([] if dims else ["reshape { shape: [ ] }"])]
    parts = [f"name: {_text(value.name)}", f"data_type: {_TYPES[elem]}", *shape, *more]
    return "\n".join([f"{kind} {{", *(f"  {part}" for part in parts), "}"])


def _dims(value: onnx.ValueInfoProto) -> list[int]:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise ModelError(f"{value.name!r}: found no shape, expected one: instrument the file again")
    return [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]


def _text(text: str) -> str:
    """A string of protobuf's text format: bytes outside printable ASCII, quotes and backslashes in octal."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'
