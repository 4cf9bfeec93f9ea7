"""The description of a model in its file: `ModelSpec`, and its JSON in ``metadata_props``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from onnxplain.contract.attention import AttentionSpec
from onnxplain.contract.choices import Task, check_choice
from onnxplain.contract.detectors.class_labels import class_labels
from onnxplain.contract.detectors.detector_spec import DetectorSpec
from onnxplain.contract.heads import BOX_COORDINATES, BoxSpec, Evidence, HeadSpec, Numbering, ScoreForm
from onnxplain.contract.metadata_checks import check_labels, check_metadata, check_roles, parse_tree
from onnxplain.contract.names import CONTRACT_VERSION, READABLE_VERSIONS
from onnxplain.contract.origins import Origins
from onnxplain.contract.parts import Completed
from onnxplain.contract.preprocessing import Preprocessing
from onnxplain.contract.quantization import Quantization
from onnxplain.contract.specs import CamSpec, ExtraInput, InputSpec, LayerSpec, MapFrame, OutputRoles, TailSpec
from onnxplain.errors import ModelError, OnnxplainError, UnsupportedError

_ADVICE = ": instrument the original file again"


@dataclass(frozen=True)
class ModelSpec:
    """The description of a model in its file.

    `heads` are the model's answers in the order in which targets count them; the first is the default. `cam`: the class
    activation maps of the default head; None if it has none. `layers` are in the order of the graph; the last is the
    default. `extra_inputs`: inputs besides the image. `tail` describes the tail file, which computes the part of the
    model after the last layer; None if none was written. `shuffle_seed`: the weights were shuffled with this seed, and
    the model is for sanity checks only; None for any other model. `gated`: gradients are computed if the input
    `explain` asks for them; a file that is not gated has no such input, and every run computes them. `detector`: how a
    detector's outputs are laid out; such a model has no heads. None for other models. `attention`: the attention
    matrices of a transformer; None where they are no outputs.
    """

    input: InputSpec
    heads: tuple[HeadSpec, ...]
    cam: CamSpec | None = None
    layers: tuple[LayerSpec, ...] = ()
    extra_inputs: tuple[ExtraInput, ...] = ()
    tail: TailSpec | None = None
    shuffle_seed: int | None = None
    gated: bool = True
    detector: DetectorSpec | None = None
    attention: AttentionSpec | None = None
    version: int = field(default=CONTRACT_VERSION)

    def __post_init__(self) -> None:
        if self.detector is not None and self.heads:
            raise ModelError("metadata: found a detector with heads, expected one of both: export the model again")
        if not self.heads and self.detector is None:
            raise ModelError("metadata: found no heads, expected one or more: instrument the original file again")
        check_labels(self.labels)
        if self.attention is not None:
            self.attention.check_heads(len(self.heads))
        if self.tail is not None and [layer.name for layer in self.layers][-1:] != [self.tail.layer]:
            raise ModelError(
                f"metadata: the tail belongs to layer {self.tail.layer!r}, expected the last layer: "
                "instrument the original file again"
            )

    @classmethod
    def of_classifier(
        cls,
        input: InputSpec,
        outputs: OutputRoles,
        classes: int,
        box: BoxSpec | None = None,
        labels: Sequence[str] = (),
        **others: Any,
    ) -> ModelSpec:
        """A model with one head of classes and, if `outputs` names one, a box. `others`: the other fields."""
        if outputs.logits is None and outputs.scores is None:
            raise ModelError(
                "metadata: found neither a logits nor a scores output, expected one: instrument the original file again"
            )
        if (box is None) != (outputs.box is None):
            raise ModelError(
                "metadata: found only one of box format and box output, expected both or neither: "
                "instrument the original file again"
            )
        name = str(outputs.scores or outputs.logits)
        heads = [HeadSpec(name, "classes", classes, outputs.logits, outputs.scores, labels=tuple(labels))]
        if outputs.box is not None:
            heads.append(HeadSpec(outputs.box, "box", BOX_COORDINATES, outputs.box, box=box))
        cam = None
        if outputs.cam_weights is not None and outputs.cam_layer is not None:
            cam = CamSpec(outputs.cam_weights, outputs.cam_layer, outputs.linear_head)
        return cls(input, tuple(heads), cam, **others)

    @property
    def numbering(self) -> Numbering:
        """The targets of the model."""
        return Numbering(self.heads)

    @property
    def head(self) -> HeadSpec:
        """The default head. Raises UnsupportedError for a detector, which has none."""
        if self.detector is not None:
            raise UnsupportedError(self.detector.no_heads)
        return self.heads[0]

    @property
    def box_head(self) -> HeadSpec | None:
        """The first box; None without one."""
        return next((head for head in self.heads if head.kind == "box"), None)

    @property
    def task(self) -> Task:
        """ "detection" of a detector, "localization" if there is a box head, else "classification"."""
        if self.detector is not None:
            return "detection"
        return "classification" if self.box is None else "localization"

    @property
    def outputs(self) -> OutputRoles:
        """The outputs of the default head, the box, and class activation maps; none of a detector."""
        if self.detector is not None:
            return OutputRoles()
        box, cam = self.box_head, self.cam
        return OutputRoles(
            logits=self.head.logits,
            scores=self.head.scores,
            box=None if box is None else box.logits,
            cam_weights=None if cam is None else cam.weights,
            cam_layer=None if cam is None else cam.layer,
            linear_head=cam is not None and cam.linear,
        )

    @property
    def classes(self) -> int:
        """Number of targets of the default head, or of a detector's classes: 0 if it is not known."""
        if self.detector is not None:
            return len(self.labels) if self.detector.classes is None else self.detector.classes
        return self.head.entries

    @property
    def box(self) -> BoxSpec | None:
        """The format of the first box; None without one."""
        return None if self.box_head is None else self.box_head.box

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the default head, or of a detector's classes."""
        return self.head.labels if self.detector is None else self.detector.labels

    @property
    def gradient_layers(self) -> tuple[LayerSpec, ...]:
        """Everything at which the file gives a gradient: the layers, and those of the attention."""
        return (*self.layers, *(() if self.attention is None else self.attention.gradient_layers))

    @property
    def named_outputs(self) -> tuple[str, ...]:
        """The outputs that have a role: of the heads or the detector, the weights of CAM, of layers and attention."""
        named = [name for head in self.heads for name in (head.logits, head.scores)]
        named += [] if self.detector is None else [name for names in self.detector.outputs for name in names]
        named.append(None if self.cam is None else self.cam.weights)
        named += [output for layer in self.layers for output in (layer.features, layer.gradients)]
        named += () if self.attention is None else self.attention.outputs
        return tuple(name for name in named if name is not None)

    def label(self, class_id: int) -> str:
        """The label of an entry of the default head, or of a class of a detector; its index as text without labels."""
        if self.detector is not None:
            return self.detector.label(class_id)
        return self.head.label(class_id)

    def with_labels(self, labels: Sequence[str], head: HeadSpec | None = None) -> ModelSpec:
        """The same model with other labels of a head; None: the default head. Raises OnnxplainError for their count.

        Of a detector, a label of the background is left out.
        """
        if self.detector is not None:
            return replace(self, detector=replace(self.detector, labels=class_labels(labels, self.detector)))
        changed = self.head if head is None else head
        heads = (replace(each, labels=tuple(labels)) if each is changed else each for each in self.heads)
        return replace(self, heads=tuple(heads))

    def frame_of(self, layer: LayerSpec) -> MapFrame | None:
        """Where a layer's maps lie in the model's input; None where they are spread evenly over the whole of it."""
        if layer.frame is None:
            return None
        even = MapFrame.over(self.input.size_hw, layer.size_hw)
        return None if layer.frame.is_close_to(even, layer.size_hw) else layer.frame

    def with_preprocessing(self, completed: Completed) -> ModelSpec:
        """The same model with another preprocessing."""
        changed = replace(self.input, preprocessing=completed.preprocessing, origins=completed.origins)
        return replace(self, input=changed)

    def to_json(self) -> str:
        """The JSON text for ``metadata_props["onnxplain"]``.

        The labels of the default head, or of a detector, stand by themselves.

        Raises OnnxplainError for what `from_json` refuses.
        """
        tree = asdict(self)
        tree["input"].update(tree["input"].pop("preprocessing"))
        if self.input.quantization is None:
            del tree["input"]["quantization"]
        for name in ("detector", "attention"):
            if tree[name] is None:
                del tree[name]
        tree["labels"] = (tree["heads"][0] if self.detector is None else tree["detector"]).pop("labels")
        check_metadata(tree)
        return json.dumps(tree, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Parse the metadata. Raises ModelError for another contract version, and for what `METADATA` refuses."""
        try:
            tree = parse_tree(text)
        except OnnxplainError as error:
            raise ModelError(f"metadata: not onnxplain JSON ({error}): instrument the original file again") from error
        version = tree["version"]
        if version not in READABLE_VERSIONS:
            readable = " or ".join(map(str, READABLE_VERSIONS))
            raise ModelError(
                f"metadata: found contract version {version}, expected version {readable}: "
                "instrument the original file again with this onnxplain"
            )
        try:
            check_metadata(tree)
            spec = _parse(tree)
            check_roles(spec.named_outputs)
            return spec
        except OnnxplainError as error:
            place = "" if str(error).startswith("metadata") else "metadata: "
            advice = "" if str(error).endswith(_ADVICE) else _ADVICE
            raise ModelError(f"{place}{error}{advice}") from error


def _parse(tree: Mapping[str, Any]) -> ModelSpec:
    source = tree["input"]
    # Files of version 1 have none of these.
    optional = {"crop_share", "pixels", "depth"} - set(source)
    preprocessing = Preprocessing(**{f.name: source[f.name] for f in fields(Preprocessing) if f.name not in optional})
    quantization = Quantization(**source["quantization"]) if source.get("quantization") else None
    origins = Origins.of_tree(source)
    image = InputSpec(source["name"], source["layout"], source["size_hw"], preprocessing, origins, quantization)
    others: dict[str, Any] = {
        "layers": tuple(map(LayerSpec.of_tree, tree["layers"])),
        "shuffle_seed": None if tree.get("shuffle_seed") is None else int(tree["shuffle_seed"]),
        "gated": bool(tree.get("gated", True)),
    }
    if "heads" not in tree:
        return _parse_classifier(tree, image, others)
    extra = tuple(ExtraInput(**each) for each in tree.get("extra_inputs", ()))
    if tree.get("detector"):
        detector = DetectorSpec.of_tree(tree["detector"], tree["labels"])
        heads = tuple(_parse_head(head, head.get("labels", ())) for head in tree["heads"])
        return ModelSpec(image, heads, extra_inputs=extra, detector=detector, **others)
    if not tree["heads"]:
        raise OnnxplainError("heads: found none, expected at least one, or a detector")
    labels = [tree["labels"], *(head.get("labels", ()) for head in tree["heads"][1:])]
    return ModelSpec(
        image,
        tuple(_parse_head(head, each) for head, each in zip(tree["heads"], labels, strict=True)),
        cam=CamSpec(**tree["cam"]) if tree.get("cam") else None,
        extra_inputs=extra,
        attention=AttentionSpec.of_tree(tree["attention"]) if tree.get("attention") else None,
        tail=TailSpec(**tree["tail"]) if tree.get("tail") else None,
        **others,
    )


def _parse_classifier(tree: Mapping[str, Any], image: InputSpec, others: Mapping[str, Any]) -> ModelSpec:
    """Version 1: one head of classes, and a box where there is one."""
    check_choice("task", tree["task"], Task)
    tail = dict(tree.get("tail") or {})
    outputs = tuple(name for name in (tail.pop("logits", None), tail.pop("box", None)) if name is not None)
    return ModelSpec.of_classifier(
        image,
        OutputRoles(**tree["outputs"]),
        int(tree["classes"]),
        BoxSpec(**tree["box"]) if tree["box"] else None,
        tree["labels"],
        tail=TailSpec(**tail, outputs=outputs) if tail else None,
        **others,
    )


def _parse_head(source: Mapping[str, Any], labels: Sequence[str]) -> HeadSpec:
    inner: dict[str, Any] = {
        name: kind(**source[name])
        for name, kind in (("box", BoxSpec), ("score_form", ScoreForm), ("evidence", Evidence))
        if source.get(name)
    }
    return HeadSpec(**{**_without(source, "box", "score_form", "evidence"), **inner, "labels": tuple(labels)})


def _without(source: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in source.items() if name not in names}
