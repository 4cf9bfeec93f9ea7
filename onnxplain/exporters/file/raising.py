"""Raising the opset of a file, operators of ONNX Runtime's optimiser included."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx.defs
import onnx.version_converter

from onnxplain.errors import ModelError
from onnxplain.exporters.graph.values import STANDARD

# Where operators that onnx does not have at a file's opset wait while the others are converted.
WAITING_DOMAIN = "onnxplain.waiting"
# ONNX Runtime's own memory layouts, and what it calls the optimisation that goes without them.
LAYOUT_DOMAINS = ("com.microsoft.nchwc", "com.ms.internal.nhwc")


def raise_opset(proto: onnx.ModelProto, opset: int, lowest: int) -> onnx.ModelProto:
    """A copy of the model with its operators as of opset `lowest`.

    ONNX Runtime's optimiser writes some operators under the standard domain that onnx got later, such as
    LayerNormalization below opset 17, or never. They mean the same at every opset, and are kept as they are.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for node in _nodes(copy.graph):
        if node.domain in STANDARD and not onnx.defs.has(node.op_type, max_inclusive_version=opset):
            node.domain = WAITING_DOMAIN
    copy.opset_import.add(domain=WAITING_DOMAIN, version=1)
    try:
        raised = onnx.version_converter.convert_version(copy, lowest)
    except (RuntimeError, onnx.checker.ValidationError, onnx.version_converter.ConvertError) as error:
        raise ModelError(
            f"cannot raise the file from opset {opset} to {lowest} ({str(error).strip().splitlines()[0]}): "
            f"export it again with opset {lowest} or newer"
        ) from error
    for node in _nodes(raised.graph):
        if node.domain == WAITING_DOMAIN:
            node.domain = ""
    for entry in [entry for entry in raised.opset_import if entry.domain == WAITING_DOMAIN]:
        raised.opset_import.remove(entry)
    return raised


def refuse_layouts(proto: onnx.ModelProto) -> None:
    """Name an operator that only computes in ONNX Runtime's own memory layouts; raises ModelError."""
    for node in _nodes(proto.graph):
        if node.domain in LAYOUT_DOMAINS:
            raise ModelError(
                f"operator {node.domain}.{node.op_type} at node {node.name or node.output[0]!r}: found ONNX Runtime's "
                "own memory layout, expected standard operators: save the file with the optimisation level "
                "ORT_ENABLE_EXTENDED, not ORT_ENABLE_ALL"
            )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)
