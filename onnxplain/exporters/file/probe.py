"""Running a prepared graph at several batch sizes, to read shapes and contents from ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir

from onnxplain.errors import VerificationError
from onnxplain.exporters.graph.names import PREFIX
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.values import maybe_dims, name_of

Shape = tuple[int, ...]
# What one probe may hold in memory, weights included.
MEMORY_LIMIT = 4 * 2**30
IMAGE_SIDE = 64


@dataclass(frozen=True)
class Probed:
    """What each run gave, in the order of `batches`.

    `types`, `shapes` and `contents` by value, of those that were asked for; a sequence has no type. `outputs` are the
    model's own, by name.
    """

    batches: tuple[int, ...]
    types: Mapping[ir.Value, ir.DataType]
    shapes: Mapping[ir.Value, tuple[Shape, ...]]
    contents: Mapping[ir.Value, tuple[np.ndarray, ...]]
    outputs: tuple[Mapping[str, np.ndarray], ...]


def measure(
    model: ir.Model,
    batches: Sequence[int],
    types: Sequence[ir.Value],
    shapes: Sequence[ir.Value],
    contents: Sequence[ir.Value],
) -> Probed:
    """Run the graph on random images at each batch size, without optimisation.

    Raises VerificationError where ONNX Runtime cannot, or needs more than `MEMORY_LIMIT` bytes.
    """
    proto = _without_stated_shapes(model)
    own = [output.name for output in proto.graph.output]
    asked = {value: f"{PREFIX}/shape_of/{index}" for index, value in enumerate(shapes)}
    for value, name in asked.items():
        proto.graph.node.append(onnx.helper.make_node("Shape", [name_of(value)], [name]))
    fetched = [*asked.values(), *(name_of(value) for value in contents)]
    declared = [*fetched, *(name_of(value) for value in types)]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(declared) if name not in own)
    session = _session(proto)
    found = session.types()
    runs = [session.run(random_images(model.graph, batch), [*own, *fetched]) for batch in batches]
    return Probed(
        tuple(batches),
        {value: ir.DataType[found[name_of(value)].upper()] for value in types if name_of(value) in found},
        {value: tuple(tuple(map(int, run[name])) for run in runs) for value, name in asked.items()},
        {value: tuple(run[name_of(value)] for run in runs) for value in contents},
        tuple({name: run[name] for name in own} for run in runs),
    )


def run_at(model: ir.Model, batches: Sequence[int]) -> tuple[Mapping[str, np.ndarray], ...]:
    """The outputs of the graph at each batch size, for the images that `measure` takes; raises as it does."""
    session = _session(_without_stated_shapes(model))
    return tuple(session.run(random_images(model.graph, batch)) for batch in batches)


def random_images(graph: ir.Graph, batch: int) -> dict[str, np.ndarray]:
    """Every input without a default: uniform in [0, 1), for 8 bits in the type's range; `batch` is the open first size.

    Other integers are sizes of the image; they are `IMAGE_SIDE`.
    """
    rng = np.random.default_rng(batch)
    feeds = {}
    for value in graph.inputs:
        if value.const_value is not None:
            continue
        shape = [size if isinstance(size, int) else batch for size in maybe_dims(value) or ()]
        if value.dtype is None:
            raise VerificationError(f"input {value.name!r} states no type")
        dtype = value.dtype.numpy()
        if dtype.itemsize == 1 and dtype.kind in "iu":
            info = np.iinfo(dtype)
            feeds[name_of(value)] = rng.integers(info.min, info.max + 1, shape).astype(dtype)
        elif dtype.kind in "iu":
            feeds[name_of(value)] = np.full(shape, IMAGE_SIDE, dtype)
        else:
            feeds[name_of(value)] = rng.uniform(0, 1, shape).astype(dtype)
    return feeds


def _session(proto: onnx.ModelProto) -> GraphSession:
    return GraphSession(proto, "graph at other batch sizes", optimised=False, memory_limit=MEMORY_LIMIT)


def _without_stated_shapes(model: ir.Model) -> onnx.ModelProto:
    """The graph, with shapes for its inputs alone."""
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        if output.type.tensor_type.elem_type:
            output.type.tensor_type.ClearField("shape")
        else:
            output.ClearField("type")
    return proto
