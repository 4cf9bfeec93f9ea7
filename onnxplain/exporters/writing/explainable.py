"""Building the explainable graph from a prepared model: heads, layers, gates, outputs, metadata."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx_ir as ir

from onnxplain.contract import (
    CAM_WEIGHTS_OUTPUT,
    EXPLAIN_INPUT,
    METADATA_KEY,
    REFERENCE_INPUT,
    REGION_INPUT,
    TARGET_INPUT,
    CamSpec,
    ImageInput,
    InputSpec,
    LayerSpec,
    ModelSpec,
    PreprocessingParts,
    Resize,
    TailSpec,
    UnusedOutput,
    complete_input,
    features_output,
    gradients_output,
    is_batched,
    override,
)
from onnxplain.errors import ModelError
from onnxplain.exporters.anatomy.anatomy import Anatomy, study
from onnxplain.exporters.anatomy.arrangement import Arrangement
from onnxplain.exporters.anatomy.heads import Head
from onnxplain.exporters.anatomy.layers import Layer, choose_layers
from onnxplain.exporters.anatomy.pooled_head import NoPooledHead, is_linear
from onnxplain.exporters.checks.witness import Witness, cut_witness
from onnxplain.exporters.file.model_file import finish
from onnxplain.exporters.gradient.many_targets import RepeatedParts, plan_many_targets
from onnxplain.exporters.gradient.zero import has_gradient
from onnxplain.exporters.graph.names import free_name
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.graph.values import maybe_dims, name_of, upstream
from onnxplain.exporters.writing.gate import add_control, add_gradient, control_defaults, split_gates
from onnxplain.exporters.writing.head_specs import head_specs
from onnxplain.exporters.writing.outputs import add_answers, add_cam_weights, add_features
from onnxplain.exporters.writing.request import Request
from onnxplain.exporters.writing.seeds import AskedInputs
from onnxplain.exporters.writing.tail_file import cut_tail_file, describe_tail
from onnxplain.exporters.writing.verdicts import CamVerdict, NoTail, TailFault
from onnxplain.sidecars import SidecarFacts, fit_labels


@dataclass(frozen=True)
class Explainable:
    """An explainable graph that is not verified or written yet, and what its checks need.

    `arrangements` say how the model's own tensors hold each layer's maps. `base` is the graph before instrumentation;
    its outputs include the values that the `witnesses` (checks/witness.py) need. `cam` says whether class activation
    maps are available. `tail_file` is the part after the last layer as a model of its own, or why there is none.
    `read` is what other tools say of the model, as far as it fits. `unused`: outputs that are no head.
    """

    proto: onnx.ModelProto
    spec: ModelSpec
    base: onnx.ModelProto
    witnesses: tuple[Witness, ...]
    cam: CamVerdict
    arrangements: tuple[Arrangement, ...]
    tail_file: onnx.ModelProto | NoTail
    read: SidecarFacts
    unused: tuple[UnusedOutput, ...] = ()


def build_explainable(
    model: ir.Model,
    request: Request,
    taps: Mapping[str, ir.Value] | None = None,
    one_target: Collection[str] = (),
) -> Explainable:
    """Instrument a prepared model in place.

    `taps` maps layer names to values of the graph and replaces the search by name. `one_target`: names of layers that
    take only one target per image, although the graph looks otherwise.
    """
    graph = model.graph
    anatomy = study(graph, request.asked, request.shape)
    image_spec = input_spec(anatomy.inputs.image_input, request)
    labelled, read = fit_labels(request.read, anatomy.heads)
    layers = _chosen(graph, anatomy, request, taps or {})
    witnesses = tuple(cut_witness(layer, anatomy.heads, graph.opset_imports[""]) for layer in layers)
    base = _with_outputs(model, witnesses)
    tail_file = _tail_file(model, layers[-1], anatomy, request)
    many = _with_many_targets(graph, layers, anatomy.targets, request, one_target)
    answers, cam_layer = _add_explanation(graph, anatomy, layers, request, many)
    linear = any(
        layer.name == cam_layer and is_linear(witness.operators)
        for layer, witness in zip(layers, witnesses, strict=True)
    )
    spec = ModelSpec(
        input=image_spec,
        heads=head_specs(anatomy.heads, answers, request, read, labelled),
        cam=None if cam_layer is None else CamSpec(CAM_WEIGHTS_OUTPUT, cam_layer, linear),
        layers=tuple(_layer_spec(layer, layer.name in many) for layer in layers),
        extra_inputs=anatomy.inputs.extra,
        tail=_tail_spec(tail_file, request.tail_of, layers[-1].name),
        shuffle_seed=request.shuffle_seed,
        gated=request.gate,
    )
    model.metadata_props[METADATA_KEY] = spec.to_json()
    cam = CamVerdict(cam_layer, anatomy.pooled if isinstance(anatomy.pooled, NoPooledHead) else None)
    arrangements = tuple(layer.arrangement for layer in layers)
    return Explainable(finish(model), spec, base, witnesses, cam, arrangements, tail_file, read, anatomy.unused)


def _with_many_targets(
    graph: ir.Graph,
    layers: Sequence[Layer],
    ends: Sequence[ir.Value],
    request: Request,
    one_target: Collection[str],
) -> dict[str, RepeatedParts]:
    """By name, the layers whose gradients one run computes for several targets of one image."""
    plans = {layer.name: plan_many_targets(graph, layer.tap, ends) for layer in layers if layer.name not in one_target}
    many = {name: plan for name, plan in plans.items() if plan is not None}
    # Without a gate every run computes the gradients of all layers, so one that cannot would fail every run.
    return many if request.gate or len(many) == len(layers) else {}


def _add_explanation(
    graph: ir.Graph, anatomy: Anatomy, layers: Sequence[Layer], request: Request, many: Mapping[str, RepeatedParts]
) -> tuple[list[ir.Value], str | None]:
    """Add the inputs and outputs of the contract.

    Returns what each head answers with, and the layer of the class activation maps.
    """
    heads, inputs = anatomy.heads, anatomy.inputs
    defaults = control_defaults(heads, request.gate)
    for name in (*defaults, *(gradients_output(layer.name) for layer in layers)):
        free_name(graph, name)
    controls = {name: add_control(graph, name, default, request.required_inputs) for name, default in defaults.items()}
    asked = AskedInputs(controls[TARGET_INPUT], controls.get(REFERENCE_INPUT), controls.get(REGION_INPUT))
    explain = controls.get(EXPLAIN_INPUT)
    gates = [None] * len(layers) if explain is None else split_gates(graph, explain, len(layers))
    batch: ir.SymbolicDim | int | None = 1
    if is_batched(inputs.image_input.layout):
        batch = inputs.image.shape[0] if inputs.image.shape is not None else None
    features = [add_features(graph, layer, batch, index) for index, layer in enumerate(layers)]
    answers = add_answers(graph, heads)
    gradients = [
        add_gradient(graph, layer, value, heads, asked, gate, index, many.get(layer.name))
        for index, (layer, value, gate) in enumerate(zip(layers, features, gates, strict=True))
    ]
    cam_layer = add_cam_weights(graph, layers, anatomy.pooled, asked.target, gates)
    for value, gradient in zip(features, gradients, strict=True):
        graph.outputs.extend([value, gradient])
    return answers, cam_layer


def _layer_spec(layer: Layer, many_targets: bool) -> LayerSpec:
    return LayerSpec(
        name=layer.name,
        features=features_output(layer.name),
        gradients=gradients_output(layer.name),
        channels=layer.channels,
        size_hw=layer.size_hw,
        frame=layer.frame,
        many_targets=many_targets,
    )


def _chosen(graph: ir.Graph, anatomy: Anatomy, request: Request, taps: Mapping[str, ir.Value]) -> list[Layer]:
    """The layers that the user asked for. Raises ModelError if one does not lead to all heads of the model."""
    if taps:
        chosen = _tapped(anatomy, taps)
    else:
        _check_names(graph, anatomy, request.layers)
        chosen = choose_layers(anatomy.layers, request.layers, anatomy.preferred, anatomy.unplaced)
    _check_reach_heads(chosen, anatomy.heads)
    return chosen


def _tapped(anatomy: Anatomy, taps: Mapping[str, ir.Value]) -> list[Layer]:
    chosen: list[Layer] = []
    for layer in anatomy.layers:
        names = [name for name, value in taps.items() if value is layer.tap]
        chosen.extend(replace(layer, name=name) for name in names)
    missing = set(taps) - {layer.name for layer in chosen}
    for entry in anatomy.unplaced:
        for name in missing:
            if taps[name] is entry.tap:
                raise ModelError(
                    f"layer {name!r}: where its map lies in the image is not known, because {entry.end}: choose an "
                    "earlier module"
                )
    if missing:
        raise ModelError(
            f"layer {', '.join(sorted(missing))}: found an output that is no map leading to the outputs, expected such "
            "a map: choose another module, or auto"
        )
    return chosen


def _check_names(graph: ir.Graph, anatomy: Anatomy, wanted: Sequence[str]) -> None:
    """Say why a value that bears a wanted name is no layer."""
    first, found = anatomy.heads[0].value, anatomy.layers
    known = {layer.name for layer in found} | {entry.name for entry in anatomy.unplaced}
    leading = {output for node in upstream(first) for output in node.outputs}
    for value in (output for node in graph for output in node.outputs):
        name = name_of(value)
        if name not in wanted or name in known:
            continue
        if value not in leading:
            raise ModelError(f"layer {name!r} does not lead to the logits {first.name!r}: choose an earlier layer")
        if not any(name in layer.name for layer in found):
            raise ModelError(
                f"layer {name!r}: found shape {list(maybe_dims(value) or ())}, expected a map [N, K, h, w] with "
                "several positions, or tokens that form such a map: choose another layer"
            )


def _check_reach_heads(layers: Sequence[Layer], heads: Sequence[Head]) -> None:
    """Raise ModelError if a layer does not lead to a head, or if the gradient of a head is zero whatever the image."""
    for head in heads if len(heads) > 1 else ():
        named = f"the {head.kind} head" if head.kind == "box" else f"the head {head.name!r}"
        for layer in layers:
            if layer.tap is not head.value and not path_between(layer.tap, [head.value]):
                raise ModelError(
                    f"layer {layer.name!r} does not lead to {named}: choose an earlier layer, or leave that head out, "
                    f"--head {head.name}:none"
                )
        zero = [layer.name for layer in layers if not has_gradient(head.value, layer.tap)]
        if zero:
            raise ModelError(
                f"{named}: its gradient is zero at layer {', '.join(map(repr, zero))} for every image, since every "
                f"path passes an operator without a derivative: leave that head out, --head {head.name}:none"
            )


def _with_outputs(model: ir.Model, witnesses: Sequence[Witness]) -> onnx.ModelProto:
    """The model as it is now; its outputs include the values that the witnesses need."""
    proto = ir.to_proto(model)
    known = {output.name for output in proto.graph.output}
    for name in dict.fromkeys(name for witness in witnesses for name in witness.captured):
        if name not in known:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return proto


def _tail_file(model: ir.Model, layer: Layer, anatomy: Anatomy, request: Request) -> onnx.ModelProto | NoTail:
    if request.tail_of is None:
        return NoTail(TailFault.NOT_ASKED_FOR)
    return cut_tail_file(ir.to_proto(model), layer, anatomy.heads, name_of(anatomy.inputs.image))


def _tail_spec(tail_file: onnx.ModelProto | NoTail, tail_of: Path | None, layer: str) -> TailSpec | None:
    return None if isinstance(tail_file, NoTail) or tail_of is None else describe_tail(tail_file, tail_of, layer)


def input_spec(image: ImageInput, request: Request) -> InputSpec:
    """Name, layout, size and preprocessing of the image input; each part as stated, read or assumed."""
    image = replace(image, quantization=request.quantization, channels_source=request.channels_source)
    if request.earlier is not None:
        found = override(request.parts.with_preset(image.dtype, image.channels, image.quantization), request.earlier)
    else:
        has_box = any(head.kind == "box" for head in request.asked.stated)
        resize: Resize = "stretch" if has_box else "crop"
        said = request.read.parts
        read, source = (PreprocessingParts(), None) if said is None else (said.value, said.source)
        found = complete_input(image, request.parts, read, source, resize)
    return InputSpec(image.name, image.layout, image.size_hw, found.preprocessing, found.origins, image.quantization)
