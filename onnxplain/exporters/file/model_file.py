"""Reading an ONNX file, preparing it for instrumentation, and writing files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from google.protobuf.message import DecodeError

from onnxplain.contract.allocations import check_allocations
from onnxplain.errors import ModelError
from onnxplain.exporters.file.batch import fixed_batch, free_batch
from onnxplain.exporters.file.dequantize import add_dequantizers
from onnxplain.exporters.file.extra_inputs import keep_as_inputs
from onnxplain.exporters.file.plain_model import plain_model
from onnxplain.exporters.file.pool_shapes import infer_shapes
from onnxplain.exporters.file.raising import raise_opset, refuse_layouts
from onnxplain.exporters.file.sizes import find_sizes, find_sizes_of_freed, state_shapes
from onnxplain.exporters.file.unrolling import MOST_NODES, unroll
from onnxplain.exporters.operators.table import look_up
from onnxplain.files.atomic import flush_to_disk, open_beside
from onnxplain.files.lock import lock_output

LOWEST_OPSET = 18
# Since opset 18, Relu and Softmax have function bodies. ONNX Runtime's CPU provider has no float16 kernels for them. It
# then inlines the bodies instead of computing in float32, and a float16 network takes twice the time.
LOWEST_OPSET_FLOAT16 = 17
LOWEST_IR_VERSION = 10
PROTOBUF_LIMIT = 2**31 - 2**20


def load_proto(path: Path) -> onnx.ModelProto:
    """Load a file with its external data. Raises ModelError if it is not a complete ONNX model."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise ModelError(f"{path}: found {found}, expected an ONNX model file")
    try:
        proto = onnx.load(path)
    except (DecodeError, MemoryError, OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: found no complete ONNX model ({_first_line(error)}), expected one: export or copy it again"
        ) from error
    if not proto.graph.node or not proto.graph.output:
        raise ModelError(f"{path}: found no ONNX graph in it, expected a model: export or copy it again")
    if len(proto.graph.node) > MOST_NODES:
        raise ModelError(
            f"{path}: found a graph of {len(proto.graph.node):,} nodes, expected at most {MOST_NODES:,}: simplify "
            "it, or use rise, which needs no gradients"
        )
    _check_acyclic(path, proto)
    try:
        check_allocations(plain_model(proto))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return proto


def _check_acyclic(path: Path, proto: onnx.ModelProto) -> None:
    """Raise ModelError with the name of a node if its inputs depend on itself, or on a value that no node computes."""
    made = {value.name for value in (*proto.graph.input, *proto.graph.initializer)} | {""}
    made.update(tensor.values.name for tensor in proto.graph.sparse_initializer)
    users: dict[str, list[int]] = defaultdict(list)
    missing = []
    for index, node in enumerate(proto.graph.node):
        absent = set(node.input) - made
        missing.append(len(absent))
        for name in absent:
            users[name].append(index)
    ready = [index for index, count in enumerate(missing) if not count]
    while ready:
        for name in set(proto.graph.node[ready.pop()].output) - made:
            made.add(name)
            for index in users[name]:
                missing[index] -= 1
                if not missing[index]:
                    ready.append(index)
    stuck = next((node for node, count in zip(proto.graph.node, missing, strict=True) if count), None)
    if stuck is not None:
        value = next(name for name in stuck.input if name not in made)
        raise ModelError(
            f"{path}: value {value!r} of node {stuck.name or stuck.op_type!r} depends on itself or on nothing: "
            "the graph has a cycle or a gap, export it again"
        )


def prepare(proto: onnx.ModelProto, *, dynamic_batch: bool = False, constants: Collection[str] = ()) -> ir.Model:
    """Raise the opset, remove initializers from the inputs, inline functions and control flow, find the sizes.

    `dynamic_batch`: make a batch dynamic that the file fixes. `constants`: inputs that keep their default. Raises
    VerificationError if the graph then does not run.
    """
    refuse_layouts(proto)
    opset = opset_of(proto)
    lowest = LOWEST_OPSET_FLOAT16 if _is_float16(proto) else LOWEST_OPSET
    if opset < lowest:
        proto = raise_opset(proto, opset, lowest)
    model = ir.from_proto(_copy(proto))
    ir.passes.Sequential(
        passes.RemoveInitializersFromInputsPass(),
        passes.InlinePass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.TopologicalSortPass(),
        passes.ClearMetadataAndDocStringPass(),
    )(model)
    model.ir_version = max(model.ir_version, LOWEST_IR_VERSION)
    if constants:
        keep_as_inputs(model.graph, [value.name for value in proto.graph.input], constants)
    unroll(model)
    infer_shapes(model)
    batch = fixed_batch(model.graph) if dynamic_batch else None
    if batch is None:
        find_sizes(model)
    else:
        state_shapes(model)
        free_batch(model, batch)
        find_sizes_of_freed(model)
    # A size that was found may decide a condition or a number of iterations.
    unroll(model)
    add_dequantizers(model.graph)
    return model


def changes(proto: onnx.ModelProto, model: ir.Model, constants: Collection[str] = ()) -> list[str]:
    """The changes that `prepare` made to the file, as texts for the report."""
    steps = []
    found, raised = opset_of(proto), model.graph.opset_imports[""]
    if found != raised:
        steps.append(f"opset {found} → {raised}")
    listed = {value.name for value in proto.graph.input} & {tensor.name for tensor in proto.graph.initializer}
    listed -= set(constants)
    if listed:
        steps.append(f"{len(listed)} initializers are no longer inputs")
    if proto.functions:
        steps.append(f"{len(proto.functions)} local functions inlined")
    flows = [
        sum(look_up(node.domain, node.op_type).control_flow for node in nodes)
        for nodes in (proto.graph.node, model.graph)
    ]
    if flows[0] > flows[1]:
        steps.append(f"{flows[0] - flows[1]} of {flows[0]} If, Loop and Scan written out")
    return steps


def opset_of(proto: onnx.ModelProto) -> int:
    """The opset version of the standard ONNX operators in the file."""
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return int(entry.version)
    raise ModelError("found no opset version of the standard ONNX operators, expected one: export the file again")


def finish(model: ir.Model) -> onnx.ModelProto:
    """Remove nodes and values that nothing needs, in subgraphs too, and serialize."""
    passes.RemoveUnusedNodesPass()(model)
    proto = ir.to_proto(model)
    if proto.ByteSize() > PROTOBUF_LIMIT:
        raise ModelError(
            "found an explainable graph of over 2 GB, expected at most 2 GB (the limit of ONNX): use a smaller model"
        )
    return proto


def write_protos(protos: Mapping[Path, onnx.ModelProto]) -> None:
    """Write every file completely under a temporary name; only then rename each, in the given order.

    While they are renamed no other process writes the last file: a model and its tail stay together.
    """
    temporaries: dict[Path, Path] = {}
    try:
        for path, proto in protos.items():
            temporaries[path] = _write_beside(path, proto)
        with lock_output(list(protos)[-1]):
            for path, temporary in temporaries.items():
                try:
                    temporary.replace(path)
                except OSError as error:
                    raise _unwritable(path, error) from error
    finally:
        for temporary in temporaries.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _write_beside(path: Path, proto: onnx.ModelProto) -> Path:
    """Write the file under a temporary name in the folder of `path`; returns the temporary path."""
    if path.is_dir():
        raise ModelError(f"{path}: found a folder, expected a file to write: give a file name")
    if not path.parent.is_dir():
        raise ModelError(f"{path}: its folder does not exist: create it, or choose another")
    try:
        temporary, stream = open_beside(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot write there ({error.strerror}): choose a folder you may write to") from error
    try:
        with stream:
            stream.write(proto.SerializeToString())
            flush_to_disk(stream)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise
    return temporary


def _unwritable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path}: cannot write the file ({error.strerror}): check the disk, or choose another file")


def _copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy is needed because onnx-ir uses the tensors of the proto and renames them together with its values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return copy


def _is_float16(proto: onnx.ModelProto) -> bool:
    return any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in proto.graph.initializer)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:600]
