"""The witness of a layer: the part of the graph after the layer, evaluated forward to check the layer's gradient.

It runs in float64 on onnx's reference evaluator. Its directional derivative is a finite difference, so it shares no
code and no table with the gradient rules. Quantized operators are replaced by their straight-through form:
q = q₀ + [q₀ not saturated] · (x − x₀) / s, with the values q₀ and x₀ of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.reference
import onnx_ir as ir
from onnx.reference.op_run import OpRun

from onnxplain.exporters.anatomy.heads import Head
from onnxplain.exporters.anatomy.layers import Layer, multiply_adds
from onnxplain.exporters.checks.fused_operators import FUSED, add_fused_product
from onnxplain.exporters.checks.low_bit_product import add_low_bit_product
from onnxplain.exporters.checks.operator_facts import facts_of
from onnxplain.exporters.checks.scalars import Differentiated
from onnxplain.exporters.checks.straight_through import add_straight_through
from onnxplain.exporters.checks.ties import integers_off_the_ties
from onnxplain.exporters.checks.witness_builder import FEATURES, WitnessBuilder, feed_name, held_name, is_number
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.values import dims, name_of

# The kind of a value of a detector, which is read as it is.
RAW = "detections"
REFERENCE_MAC_LIMIT = 400_000_000


class Erf(OpRun):
    """Erf in the precision of its input; onnx's reference evaluator rounds it to float32."""

    op_domain = ""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        from scipy.special import erf

        return (erf(x),)


class GatherElements(OpRun):
    """GatherElements for any number of rows; onnx's reference evaluator stops at 64."""

    op_domain = ""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int | None = None) -> tuple[np.ndarray]:
        along = 0 if axis is None else axis
        return (np.take_along_axis(data, np.where(indices < 0, indices + data.shape[along], indices), along),)


@dataclass(frozen=True)
class WitnessHead:
    """What the witness returns for a head: its value, named `output`.

    `channel_axis`: of a mask [N, C, h, w], counted with the batch axis; None for rows of numbers. Of a detector there
    is one of the kind `RAW` for each value that it starts at.
    """

    output: str
    kind: str
    channel_axis: int | None = None

    def read(self, result: np.ndarray, rows: int) -> np.ndarray:
        """float [N, size], or [N, C, h, w] for a mask; of a detector the value as it is."""
        if self.kind == RAW:
            return result
        if self.channel_axis is None:
            return result.reshape(rows, -1)
        with_batch = result.reshape(rows, *result.shape[-3:])
        return np.moveaxis(with_batch, self.channel_axis, 1)


@dataclass(frozen=True)
class Witness:
    """The part of the graph after a layer: takes features, returns the value of each head, in `dtype`.

    `captured` names the values of the whole graph that must be fed besides the features: other inputs of the part,
    and inputs and outputs of its quantized operators. The values named in `held` are fed a second time, moved so that
    no two are equal (ties.py).
    """

    proto: onnx.ModelProto
    dtype: type[np.floating]
    captured: tuple[str, ...]
    heads: tuple[WitnessHead, ...]
    operators: tuple[str, ...]
    held: tuple[str, ...] = ()

    def evaluate(
        self, features: np.ndarray, captured: Mapping[str, np.ndarray], scalars: Sequence[Differentiated]
    ) -> np.ndarray:
        """Each scalar of each image, float (N, Q)."""
        read = self.values(features, captured)
        return np.stack([each.read(self.heads, read) for each in scalars], axis=1)

    def values(self, features: np.ndarray, captured: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The value of each head, float (N, size), or (N, C, h, w) for a mask."""
        feeds = {FEATURES: features.astype(self.dtype)}
        for name in self.captured:
            array = captured[name]
            feeds[feed_name(name)] = array.astype(self.dtype) if is_number(array.dtype) else array
        for name in self.held:
            array = captured[name].astype(self.dtype)
            feeds[held_name(name)] = integers_off_the_ties(array) if self.dtype is np.float64 else array
        names = [output.name for output in self.proto.graph.output]
        if self.dtype is np.float64:
            results = onnx.reference.ReferenceEvaluator(self.proto, new_ops=[Erf, GatherElements, *FUSED]).run(
                names, feeds
            )
            found = dict(zip(names, map(np.asarray, results), strict=True))
        else:
            found = GraphSession(self.proto, "part after the layer").run(feeds, names)
        return [head.read(found[head.output], len(features)) for head in self.heads]


def cut_witness(layer: Layer, heads: Sequence[WitnessHead], opset: int) -> Witness:
    """Cut out the part from the layer to the values of the heads."""
    assert layer.tap.graph is not None
    ends = {head.output for head in heads}
    values = [value for node in layer.tap.graph for value in node.outputs if value.name in ends]
    path = path_between(layer.tap, values)
    small = sum(multiply_adds(node) for node in path) <= REFERENCE_MAC_LIMIT
    dtype: type[np.floating] = np.float64 if small else np.float32
    builder = WitnessBuilder(dtype, opset)
    builder.enter(layer)
    add_path(builder, path)
    return Witness(
        builder.model(list(dict.fromkeys(head.output for head in heads))),
        dtype,
        tuple(builder.captured),
        tuple(heads),
        tuple(dict.fromkeys(node.op_type for node in path)),
        tuple(builder.held),
    )


def witness_head(head: Head) -> WitnessHead:
    """What the witness returns for a head."""
    axis = None
    if head.kind == "mask":
        axis = head.channel_axis + 4 - len(dims(head.value))
    return WitnessHead(name_of(head.value), head.kind, axis)


def add_path(builder: WitnessBuilder, path: Sequence[ir.Node]) -> None:
    """Append nodes unchanged, but quantized ones in their straight-through form, and fused products in their parts.

    Indices that a node chooses are those of the run.
    """
    for node in path:
        facts = facts_of(node.op_type)
        if facts.chooses:
            builder.keep_choice(node)
        elif facts.packs_weights:
            add_low_bit_product(builder, node)
        elif facts.product is not None:
            add_fused_product(builder, node, facts.product)
        elif facts.form is None:
            builder.add(node)
        else:
            add_straight_through(builder, node, facts.form, facts.gates)


def in_float32(witness: Witness) -> Witness:
    """The same witness in float32, for ONNX Runtime; used if the reference evaluator cannot run it."""
    proto = onnx.ModelProto()
    proto.CopyFrom(witness.proto)
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float64:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in proto.graph.node:
        for entry in node.attribute:
            if node.op_type == "Cast" and entry.name == "to" and entry.i == onnx.TensorProto.DOUBLE:
                entry.i = onnx.TensorProto.FLOAT
    return replace(witness, proto=proto, dtype=np.float32)
