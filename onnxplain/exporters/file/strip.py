"""Removing an earlier instrumentation, so that a file can be instrumented again."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes

from onnxplain.contract import CONTROL_INPUTS, METADATA_KEY, ModelSpec
from onnxplain.exporters.graph.names import PREFIX


def earlier_spec(proto: onnx.ModelProto) -> ModelSpec | None:
    """The metadata of an explainable file; None for a plain file."""
    for entry in proto.metadata_props:
        if entry.key == METADATA_KEY:
            return ModelSpec.from_json(entry.value)
    return None


def strip_instrumentation(proto: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """The plain model from which an explainable file was made: only its own inputs, outputs and values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    model = ir.from_proto(copy)
    graph = model.graph
    del model.metadata_props[METADATA_KEY]
    added = {name for layer in spec.gradient_layers for name in (layer.features, layer.gradients)}
    added.add(spec.outputs.cam_weights or "")
    own = []
    for output in graph.outputs:
        node = output.producer()
        made_here = node is not None and (node.name or "").startswith(f"{PREFIX}/")
        if output.name not in added and not made_here:
            own.append(output)
    graph.outputs.clear()
    graph.outputs.extend(own)
    passes.RemoveUnusedNodesPass()(model)
    # Values that only a removed branch read count as used until the graph is loaded again.
    model = ir.from_proto(ir.to_proto(model))
    graph = model.graph
    passes.RemoveUnusedNodesPass()(model)
    for name in CONTROL_INPUTS:
        for value in [value for value in graph.inputs if value.name == name]:
            graph.inputs.remove(value)
            graph.initializers.pop(name, None)
    names = {layer.features: layer.name for layer in spec.layers}
    taken = {output.name for node in graph for output in node.outputs} | set(graph.initializers)
    for node in graph:
        for output in node.outputs:
            if output.name in names and names[output.name] not in taken:
                output.name = names[output.name]
    return ir.to_proto(model)
