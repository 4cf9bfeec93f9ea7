"""Turning any ONNX classifier or localizer into an explainable graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxplain.contract import (
    CAM_WEIGHTS_OUTPUT,
    EXPLAIN_INPUT,
    GRAY_PRESETS,
    LOGITS_OUTPUT,
    METADATA_KEY,
    PRESETS,
    TARGET_INPUT,
    BoxFormat,
    BoxSpec,
    BoxUnits,
    InputSpec,
    LayerSpec,
    Layout,
    ModelSpec,
    OutputRoles,
    Preprocessing,
    features_output,
    gradients_output,
)
from onnxplain.errors import ModelError
from onnxplain.exporters.branch import Branch
from onnxplain.exporters.differentiate import path_between
from onnxplain.exporters.gate import PREFIX, add_gate_inputs, add_gradient, flat_logits, split_gates
from onnxplain.exporters.head import PooledHead, find_pooled_head
from onnxplain.exporters.layers import AUTO, Layer, choose_layers, find_layers
from onnxplain.exporters.model_file import finish, load_proto, prepare, write_proto
from onnxplain.exporters.report import ExportReport
from onnxplain.exporters.roles import Roles, find_image_input, find_roles
from onnxplain.exporters.tail import Tail, cut_tail, dequantizer_of
from onnxplain.exporters.values import FLOATS, name_of, static_dims
from onnxplain.exporters.verify import verify


@dataclass(frozen=True)
class Request:
    """What the user states of a file; everything else is read from its graph.

    `layers` are names, parts of names, shares such as ``50%``, or ``auto``. `taps` maps names to values that
    become the layers instead.
    """

    layers: Sequence[str] = (AUTO,)
    logits: str | None = None
    box: str | None = None
    box_format: BoxFormat = "cxcywh"
    box_units: BoxUnits = "normalized"
    labels: Sequence[str] = ()
    preprocessing: Preprocessing | None = None
    layout: Layout | None = None
    required_inputs: bool = False


@dataclass(frozen=True)
class Explainable:
    """An explainable graph that has not been verified or written yet, and what its checks need."""

    proto: onnx.ModelProto
    spec: ModelSpec
    base: onnx.ModelProto
    tails: tuple[Tail, ...]
    cam: str
    taps: tuple[str, ...]


def instrument(
    source: str | Path,
    destination: str | Path,
    *,
    layers: Sequence[str] = (AUTO,),
    logits: str | None = None,
    box: str | None = None,
    box_format: BoxFormat = "cxcywh",
    box_units: BoxUnits = "normalized",
    labels: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    input_size_hw: tuple[int, int] | None = None,
    layout: Layout | None = None,
    required_inputs: bool = False,
) -> ExportReport:
    """Write `destination`: the model of `source`, which can also output feature maps and gradients.

    The written file keeps the model's inputs and outputs, and adds the inputs, outputs and metadata of the
    contract (docs/contract.md). Before it is written it is verified: original outputs unchanged, gradients that
    depend on class and input and agree with finite differences.

    `layers`: names, unique parts of names, shares of the multiply-adds such as ``50%``, or ``auto``. `logits`,
    `box`: names of the class logits and of the box head's output, where they cannot be found. `labels`: one per
    class. `preprocessing`: without it ImageNet's is assumed for float inputs, raw pixels for uint8, and the file
    says so. `input_size_hw`: closes an open input size. `required_inputs`: `target` and `explain` get no
    default, for languages that cannot feed inputs that have one.

    Raises ModelError for a file or a graph that this cannot be done to, UnsupportedError for an operator without
    a gradient rule, VerificationError for a failed check; nothing is written then.
    """
    source, destination = Path(source), Path(destination)
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ModelError(f"{destination}: is the source itself: give another file to write")
    request = Request(layers, logits, box, box_format, box_units, labels, preprocessing, layout, required_inputs)
    original = load_proto(source)
    explainable = build(prepare(original, input_size_hw), request)
    checks = verify(explainable.base, explainable.proto, explainable.spec, explainable.tails, original=original)
    write_proto(explainable.proto, destination)
    return ExportReport(destination, explainable.spec, explainable.cam, checks)


def build(model: ir.Model, request: Request, taps: dict[str, ir.Value] | None = None) -> Explainable:
    """Instrument a prepared model in place.

    `taps` maps layer names to values of the graph and replaces the search by name.
    """
    graph = model.graph
    image, layout = find_image_input(graph)
    if request.layout is not None and request.layout != layout:
        raise ModelError(f"--layout {request.layout}: the input's shape says {layout}")
    roles = find_roles(graph, request.logits, request.box)
    head = find_pooled_head(roles.logits)
    layers = _layers(graph, roles, request, head, taps or {})
    tails = tuple(cut_tail(layer, roles, graph.opset_imports[""]) for layer in layers)
    for layer in layers:
        _check_reaches_box(layer, roles)
    base = _with_outputs(model, tails)

    for name in (TARGET_INPUT, EXPLAIN_INPUT):
        _free_name(graph, name)
    target, explain = add_gate_inputs(graph, request.required_inputs)
    gates = split_gates(graph, explain, len(layers))
    batch = image.shape[0] if image.shape is not None else None
    features = [_add_features(graph, layer, batch, index) for index, layer in enumerate(layers)]
    logits = _logits_output(graph, roles)
    gradients = [
        add_gradient(graph, layer, value, roles, target, gate, index)
        for index, (layer, value, gate) in enumerate(zip(layers, features, gates, strict=True))
    ]
    cam_layer = _add_cam_weights(graph, layers, head)
    for value, gradient in zip(features, gradients, strict=True):
        graph.outputs.extend([value, gradient])

    spec = ModelSpec(
        task="classification" if roles.box is None else "localization",
        input=_input_spec(image, layout, request),
        outputs=OutputRoles(
            logits=name_of(logits),
            scores=None if roles.scores_output is None else name_of(roles.scores_output),
            box=None if roles.box_output is None else name_of(roles.box_output),
            cam_weights=None if cam_layer is None else CAM_WEIGHTS_OUTPUT,
            cam_layer=cam_layer,
        ),
        classes=roles.classes,
        box=None if roles.box is None else BoxSpec(request.box_format, request.box_units),
        layers=tuple(
            LayerSpec(
                layer.name,
                features_output(layer.name),
                gradients_output(layer.name),
                layer.channels,
                layer.size_hw,
            )
            for layer in layers
        ),
        labels=tuple(request.labels),
    )
    model.metadata_props[METADATA_KEY] = spec.to_json()
    cam = _cam_verdict(head, cam_layer)
    return Explainable(finish(model), spec, base, tails, cam, tuple(name_of(layer.tap) for layer in layers))


def _layers(
    graph: ir.Graph, roles: Roles, request: Request, head: PooledHead | str, taps: dict[str, ir.Value]
) -> list[Layer]:
    targets = [roles.logits] if roles.box is None else [roles.logits, roles.box]
    found = find_layers(graph, targets)
    if not taps:
        return choose_layers(found, request.layers, head)
    chosen: list[Layer] = []
    for layer in found:
        names = [name for name, value in taps.items() if value is layer.tap]
        chosen.extend(replace(layer, name=name) for name in names)
    missing = set(taps) - {layer.name for layer in chosen}
    if missing:
        raise ModelError(
            f"layer {', '.join(sorted(missing))}: its output is no map [N, K, h, w] that leads to the outputs: "
            "choose another module, or auto"
        )
    return chosen


def _check_reaches_box(layer: Layer, roles: Roles) -> None:
    if roles.box is not None and not path_between(layer.tap, [roles.box]):
        raise ModelError(f"layer {layer.name!r} does not lead to the box head: choose an earlier one")


def _with_outputs(model: ir.Model, tails: Sequence[Tail]) -> onnx.ModelProto:
    """The model as it is now, with the values that its tails need as further outputs."""
    proto = onnx.ModelProto()
    proto.CopyFrom(ir.to_proto(model))
    known = {output.name for output in proto.graph.output}
    for name in dict.fromkeys(name for tail in tails for name in tail.captured):
        if name not in known:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return proto


def _add_features(graph: ir.Graph, layer: Layer, batch: ir.SymbolicDim | int | None, index: int) -> ir.Value:
    """The value that becomes the output ``features/<layer>``, float32 [N, K, h, w]."""
    tap = layer.tap
    tail = Branch(f"{PREFIX}/features_{index}")
    if tap.dtype == ir.DataType.FLOAT and not tap.is_graph_output():
        value = tap
    else:
        if tap.dtype == ir.DataType.FLOAT:
            value = tail.Identity(tap)
        elif tap.dtype in FLOATS:
            value = tail.Cast(tap, to=ir.DataType.FLOAT)
        else:
            # A DequantizeLinear of its own, so that ONNX Runtime still fuses the others into integer kernels.
            node = dequantizer_of(tap)
            (value,) = tail.repeat(node, list(node.inputs))
        graph.extend(tail.nodes)
    _free_name(graph, features_output(layer.name))
    value.name = features_output(layer.name)
    value.shape = ir.Shape([batch, layer.channels, *layer.size_hw])
    value.type = ir.TensorType(ir.DataType.FLOAT)
    return value


def _logits_output(graph: ir.Graph, roles: Roles) -> ir.Value:
    """The logits as float32 [N, C]: the model's own output where it is that, else computed from it."""
    if roles.logits_output is not None:
        return roles.logits_output
    tail = Branch(f"{PREFIX}/logits")
    value = flat_logits(tail, roles)
    if value is roles.logits:
        value = tail.Identity(value)
    graph.extend(tail.nodes)
    batch = roles.logits.shape[0] if roles.logits.shape is not None else None
    value.shape, value.type = ir.Shape([batch, roles.classes]), ir.TensorType(ir.DataType.FLOAT)
    taken = {output.name for output in graph.outputs}
    value.name = LOGITS_OUTPUT if LOGITS_OUTPUT not in taken else f"{PREFIX}/{LOGITS_OUTPUT}"
    _free_name(graph, value.name, keep=value)
    graph.outputs.append(value)
    return value


def _add_cam_weights(graph: ir.Graph, layers: Sequence[Layer], head: PooledHead | str) -> str | None:
    """Make the head's weights an output; returns the name of the layer that they belong to."""
    if isinstance(head, str):
        return None
    names = [layer.name for layer in layers if layer.tap is head.layer]
    if not names:
        return None
    _free_name(graph, CAM_WEIGHTS_OUTPUT)
    value = _stored_weights(graph, head.weights)
    if value is None:
        value = ir.Value(
            name=CAM_WEIGHTS_OUTPUT,
            shape=ir.Shape(head.weights.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(head.weights, name=CAM_WEIGHTS_OUTPUT),
        )
        graph.register_initializer(value)
    else:
        value.name = CAM_WEIGHTS_OUTPUT
    graph.outputs.append(value)
    return names[0]


def _stored_weights(graph: ir.Graph, weights: np.ndarray) -> ir.Value | None:
    """The initializer that holds exactly these weights, so that they need not be stored twice."""
    for value in graph.initializers.values():
        tensor = value.const_value
        if (
            tensor is not None
            and tensor.dtype == ir.DataType.FLOAT
            and tuple(tensor.shape) == weights.shape
            and not value.is_graph_input()
            and np.array_equal(tensor.numpy(), weights)
        ):
            return value
    return None


def _cam_verdict(head: PooledHead | str, cam_layer: str | None) -> str:
    if isinstance(head, str):
        return f"no: {head}"
    return f"yes, at {cam_layer}" if cam_layer is not None else "no: the pooled layer is not among the layers"


def _input_spec(image: ir.Value, layout: Layout, request: Request) -> InputSpec:
    channel_axis, size_axes = (1, (2, 3)) if layout == "nchw" else (3, (1, 2))
    (channels,) = static_dims(image, (channel_axis,))
    height, width = static_dims(image, size_axes)
    stated = request.preprocessing
    if stated is None:
        presets = GRAY_PRESETS if channels == 1 else PRESETS
        stated = presets["raw" if image.dtype == ir.DataType.UINT8 else "imagenet"]
        if request.box is not None:
            stated = replace(stated, resize="stretch")
    if stated.channel_count != channels:
        raise ModelError(
            f"input {image.name!r} has {channels} channels, the stated preprocessing {stated.channel_count}: "
            "use --channels gray for one channel, rgb or bgr for three"
        )
    return InputSpec(name_of(image), layout, (height, width), stated, assumed=request.preprocessing is None)


def _free_name(graph: ir.Graph, name: str, keep: ir.Value | None = None) -> None:
    """Rename an inner value that happens to bear a name of the contract."""
    values = [*graph.initializers.values(), *(output for node in graph for output in node.outputs)]
    for value in values:
        if value.name != name or value is keep:
            continue
        if value.is_graph_output() or value.is_graph_input():
            raise ModelError(f"the model has an input or output named {name!r}, a name of the contract: rename it")
        value.name = f"{name}.inner"
