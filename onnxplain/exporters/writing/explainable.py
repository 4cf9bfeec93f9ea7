"""Building the explainable graph from a prepared model: heads, layers, gates, outputs, metadata."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx_ir as ir

from onnxplain.contract import (
    ATTENTION_INPUT,
    ATTENTION_LAYER,
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
from onnxplain.contract.detectors import assumed_input
from onnxplain.exporters.anatomy.anatomy import Anatomy, study
from onnxplain.exporters.anatomy.arrangement import Arrangement
from onnxplain.exporters.anatomy.detector_ends import DetectorEnds
from onnxplain.exporters.anatomy.layers import Layer
from onnxplain.exporters.anatomy.pooled_head import NoPooledHead, is_linear
from onnxplain.exporters.checks.witness import RAW, Witness, WitnessHead, cut_witness, witness_head
from onnxplain.exporters.file.model_file import finish
from onnxplain.exporters.gradient.many_targets import RepeatedParts, plan_many_targets
from onnxplain.exporters.graph.names import free_name
from onnxplain.exporters.graph.path import path_between
from onnxplain.exporters.graph.values import name_of
from onnxplain.exporters.writing.attention_outputs import (
    Controls,
    PlannedAttention,
    add_attention,
    cut_witnesses,
    plan_attention,
)
from onnxplain.exporters.writing.chosen_layers import chosen_layers
from onnxplain.exporters.writing.detector_seeds import detector_seeds
from onnxplain.exporters.writing.gate import SeedMaker, add_control, add_gradient, control_defaults, split_gates
from onnxplain.exporters.writing.head_specs import head_specs
from onnxplain.exporters.writing.outputs import add_answers, add_cam_weights, add_features
from onnxplain.exporters.writing.request import Request
from onnxplain.exporters.writing.seeds import AskedInputs, seed_cotangents
from onnxplain.exporters.writing.tail_file import cut_tail_file, describe_tail
from onnxplain.exporters.writing.verdicts import CamVerdict, NoTail, TailFault
from onnxplain.sidecars import SidecarFacts, fit_labels


@dataclass(frozen=True)
class Explainable:
    """An explainable graph that is not verified or written yet, and what its checks need.

    `arrangements` say how the model's own tensors hold each layer's maps. `base` is the graph before instrumentation;
    its outputs include the values that the `witnesses` (checks/witness.py) need. `cam` says whether class activation
    maps are available. `tail_file` is the part after the last layer as a model of its own, or why there is none.
    `read` is what other tools say of the model, as far as it fits. `unused`: outputs that are no head. `detector`: the
    end of a detector's graph.
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
    detector: DetectorEnds | None = None


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
    anatomy = study(graph, request.asked, request.shape, request.detector)
    image_spec = input_spec(anatomy.inputs.image_input, request)
    labelled, read = fit_labels(request.read, anatomy.heads) if anatomy.heads else (None, request.read)
    layers = chosen_layers(graph, anatomy, request, taps or {})
    opset = graph.opset_imports[""]
    witnesses = tuple(cut_witness(layer, _answers_at(anatomy, layer), opset) for layer in layers)
    attention = plan_attention(graph, anatomy) if ATTENTION_LAYER in request.layers else None
    if attention is not None:
        witnesses += tuple(cut_witnesses(attention, _answers_at(anatomy, attention.layers[0]), opset))
    prepared = ir.to_proto(model)
    tail_file = _tail_file(prepared, layers[-1], anatomy, request)
    base = _with_outputs(prepared, witnesses, anatomy.detector)
    many = _with_many_targets(graph, (layers, attention), anatomy.targets, request, one_target)
    answers, cam_layer = _add_explanation(graph, anatomy, (layers, attention), request, many)
    linear = any(
        layer.name == cam_layer and is_linear(witness.operators)
        for layer, witness in zip(layers, witnesses, strict=False)
    )
    spec = ModelSpec(
        input=image_spec,
        heads=head_specs(anatomy.heads, answers, request, read, labelled) if anatomy.heads else (),
        cam=None if cam_layer is None else CamSpec(CAM_WEIGHTS_OUTPUT, cam_layer, linear),
        layers=tuple(_layer_spec(layer, layer.name in many) for layer in layers),
        extra_inputs=anatomy.inputs.extra,
        tail=_tail_spec(tail_file, request.tail_of, layers[-1].name),
        shuffle_seed=request.shuffle_seed,
        gated=request.gate,
        detector=request.detector,
        attention=None if attention is None else attention.spec(many_targets=attention.names[0] in many),
    )
    model.metadata_props[METADATA_KEY] = spec.to_json()
    cam = CamVerdict(cam_layer, anatomy.pooled if isinstance(anatomy.pooled, NoPooledHead) else None)
    arrangements = tuple(layer.arrangement for layer in layers)
    return Explainable(
        finish(model), spec, base, witnesses, cam, arrangements, tail_file, read, anatomy.unused, anatomy.detector
    )


def _with_many_targets(
    graph: ir.Graph,
    asked: tuple[Sequence[Layer], PlannedAttention | None],
    ends: Sequence[ir.Value],
    request: Request,
    one_target: Collection[str],
) -> dict[str, RepeatedParts]:
    """By name, the layers, and matrices of attention, whose gradients one run computes for several targets."""
    matrices = () if asked[1] is None else asked[1].layers
    names = () if asked[1] is None else asked[1].names
    layers = [*asked[0], *matrices]
    plans = {layer.name: plan_many_targets(graph, layer.tap, ends) for layer in layers if layer.name not in one_target}
    many = {name: plan for name, plan in plans.items() if plan is not None}
    if not all(each.name in many for each in matrices) or not set(names).isdisjoint(one_target):
        # They come from one walk.
        many = {name: plan for name, plan in many.items() if name not in names}
    # Without a gate every run computes the gradients of all layers, so one that cannot would fail every run.
    return many if request.gate or len(many) == len(layers) else {}


def _add_explanation(
    graph: ir.Graph,
    anatomy: Anatomy,
    tapped: tuple[Sequence[Layer], PlannedAttention | None],
    request: Request,
    many: Mapping[str, RepeatedParts],
) -> tuple[list[ir.Value], str | None]:
    """Add the inputs and outputs of the contract.

    Returns what each head answers with, and the layer of the class activation maps.
    """
    heads, inputs, (layers, attention) = anatomy.heads, anatomy.inputs, tapped
    defaults = control_defaults(heads, request.gate, attention is not None)
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
        add_gradient(graph, layer, value, _seed_maker(anatomy, asked), gate, index, many.get(layer.name))
        for index, (layer, value, gate) in enumerate(zip(layers, features, gates, strict=True))
    ]
    cam_layer = add_cam_weights(graph, layers, anatomy.pooled, asked.target, gates)
    for value, gradient in zip(features, gradients, strict=True):
        graph.outputs.extend([value, gradient])
    if attention is not None:
        forward = path_between(inputs.image, anatomy.targets)
        gate = controls.get(ATTENTION_INPUT)
        add_attention(graph, attention, Controls(asked, gate, heads, forward, many.get(attention.names[0])))
    return answers, cam_layer


def _seed_maker(anatomy: Anatomy, asked: AskedInputs) -> SeedMaker:
    """What emits where the gradients start: at the heads, or at the outputs of a detector."""
    ends = anatomy.detector
    if ends is not None:
        return lambda branch, tap, many: detector_seeds(branch, ends, asked.target, tap, many)
    return lambda branch, tap, many: seed_cotangents(branch, anatomy.heads, asked, tap, many)


def _answers_at(anatomy: Anatomy, layer: Layer) -> list[WitnessHead]:
    """What the witness of a layer returns: the heads; of a detector the values that the layer leads to."""
    if anatomy.detector is None:
        return list(map(witness_head, anatomy.heads))
    return [
        WitnessHead(name_of(value), RAW)
        for value in dict.fromkeys(anatomy.detector.starts)
        if path_between(layer.tap, [value])
    ]


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


def _with_outputs(proto: onnx.ModelProto, witnesses: Sequence[Witness], ends: DetectorEnds | None) -> onnx.ModelProto:
    """The graph; its outputs include the values that the witnesses and the checks of a detector need, in place."""
    known = {output.name for output in proto.graph.output}
    needed = [] if ends is None else [name_of(value) for value in (*ends.values, *ends.activations)]
    for name in dict.fromkeys([*needed, *(name for witness in witnesses for name in witness.captured)]):
        if name not in known:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return proto


def _tail_file(prepared: onnx.ModelProto, layer: Layer, anatomy: Anatomy, request: Request) -> onnx.ModelProto | NoTail:
    if request.tail_of is None:
        return NoTail(TailFault.NOT_ASKED_FOR)
    if anatomy.detector is not None:
        return NoTail(TailFault.DETECTOR)
    return cut_tail_file(prepared, layer, anatomy.heads, name_of(anatomy.inputs.image))


def _tail_spec(tail_file: onnx.ModelProto | NoTail, tail_of: Path | None, layer: str) -> TailSpec | None:
    return None if isinstance(tail_file, NoTail) or tail_of is None else describe_tail(tail_file, tail_of, layer)


def input_spec(image: ImageInput, request: Request) -> InputSpec:
    """Name, layout, size and preprocessing of the image input; each part as stated, read or assumed."""
    image = replace(image, quantization=request.quantization, channels_source=request.channels_source)
    if request.earlier is not None:
        found = override(request.parts.with_preset(image.dtype, image.channels, image.quantization), request.earlier)
    elif request.detector is not None:
        said = request.read.parts
        read, source = (PreprocessingParts(), None) if said is None else (said.value, said.source)
        found = assumed_input(request.detector, image, request.parts, read, source)
    else:
        has_box = any(head.kind == "box" for head in request.asked.stated)
        resize: Resize = "stretch" if has_box else "crop"
        said = request.read.parts
        read, source = (PreprocessingParts(), None) if said is None else (said.value, said.source)
        found = complete_input(image, request.parts, read, source, resize)
    return InputSpec(image.name, image.layout, image.size_hw, found.preprocessing, found.origins, image.quantization)
