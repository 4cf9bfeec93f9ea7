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

from onnxplain.exporters.anatomy.layers import Layer, multiply_adds
from onnxplain.exporters.anatomy.roles import Roles
from onnxplain.exporters.checks.fused_operators import FUSED, add_fused_product
from onnxplain.exporters.checks.low_bit_product import add_low_bit_product
from onnxplain.exporters.checks.operator_facts import facts_of
from onnxplain.exporters.checks.straight_through import add_straight_through
from onnxplain.exporters.checks.ties import integers_off_the_ties
from onnxplain.exporters.checks.witness_builder import FEATURES, WitnessBuilder, feed_name, held_name, is_number
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.graph.session import GraphSession
from onnxplain.exporters.graph.values import name_of

REFERENCE_MAC_LIMIT = 400_000_000


class Erf(OpRun):
    """Erf in the precision of its input; onnx's reference evaluator rounds it to float32."""

    op_domain = ""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        from scipy.special import erf

        return (erf(x),)


@dataclass(frozen=True)
class Witness:
    """The part of the graph after a layer: takes features, returns flattened logits (and box), in `dtype`.

    `captured` names the values of the whole graph that must be fed besides the features: other inputs of the part,
    and inputs and outputs of its quantized operators. The values named in `held` are fed a second time, moved so that
    no two are equal (ties.py).
    """

    proto: onnx.ModelProto
    dtype: type[np.floating]
    captured: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]
    held: tuple[str, ...] = ()

    def evaluate(self, features: np.ndarray, captured: Mapping[str, np.ndarray]) -> np.ndarray:
        """float (N, C) or (N, C + 4): logits, then the box."""
        feeds = {FEATURES: features.astype(self.dtype)}
        for name in self.captured:
            array = captured[name]
            feeds[feed_name(name)] = array.astype(self.dtype) if is_number(array.dtype) else array
        for name in self.held:
            array = captured[name].astype(self.dtype)
            feeds[held_name(name)] = integers_off_the_ties(array) if self.dtype is np.float64 else array
        if self.dtype is np.float64:
            results = onnx.reference.ReferenceEvaluator(self.proto, new_ops=[Erf, *FUSED]).run(None, feeds)
        else:
            results = list(GraphSession(self.proto, "part after the layer").run(feeds, self.outputs).values())
        rows = len(features)
        return np.concatenate([np.asarray(result).reshape(rows, -1) for result in results], axis=1)


def cut_witness(layer: Layer, roles: Roles, opset: int) -> Witness:
    """Cut out the part from the layer to the logits (and to the box, if there is one)."""
    targets = [roles.logits] if roles.box is None else [roles.logits, roles.box]
    path = path_between(layer.tap, targets)
    small = sum(multiply_adds(node) for node in path) <= REFERENCE_MAC_LIMIT
    dtype: type[np.floating] = np.float64 if small else np.float32
    builder = WitnessBuilder(dtype, opset)
    builder.enter(layer)
    add_path(builder, path)
    return Witness(
        builder.model([name_of(target) for target in targets]),
        dtype,
        tuple(builder.captured),
        tuple(name_of(target) for target in targets),
        tuple(dict.fromkeys(node.op_type for node in path)),
        tuple(builder.held),
    )


def add_path(builder: WitnessBuilder, path: Sequence[ir.Node]) -> None:
    """Append nodes unchanged, but quantized ones in their straight-through form, and fused products in their parts."""
    for node in path:
        facts = facts_of(node.op_type)
        if facts.packs_weights:
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
