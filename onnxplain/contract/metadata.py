"""The description of a model in its file: `ModelSpec`, and its JSON in ``metadata_props``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from onnxplain.contract.choices import Task, check_choice
from onnxplain.contract.detectors.detector_spec import DetectorSpec
from onnxplain.contract.names import CONTRACT_VERSION, READABLE_VERSIONS
from onnxplain.contract.origins import ASSUMED, STATED, Origin, Origins
from onnxplain.contract.parts import Completed
from onnxplain.contract.preprocessing import Preprocessing
from onnxplain.contract.specs import BoxSpec, InputSpec, LayerSpec, MapFrame, OutputRoles, TailSpec
from onnxplain.errors import ModelError, OnnxplainError


@dataclass(frozen=True)
class ModelSpec:
    """The description of a model in its file.

    `layers` are in the order of the graph; the last is the default. `tail` describes the tail file, which computes the
    part of the model after the last layer; None if none was written. `shuffle_seed`: the weights were shuffled with
    this seed, and the model is for sanity checks only; None for any other model. `gated`: gradients are computed if the
    input `explain` asks for them; a file that is not gated has no such input, and every run computes them. `detector`:
    how a detector's outputs are laid out; None for other models.
    """

    task: Task
    input: InputSpec
    outputs: OutputRoles
    classes: int
    box: BoxSpec | None = None
    layers: tuple[LayerSpec, ...] = ()
    labels: tuple[str, ...] = ()
    tail: TailSpec | None = None
    shuffle_seed: int | None = None
    gated: bool = True
    detector: DetectorSpec | None = None
    version: int = field(default=CONTRACT_VERSION)

    def __post_init__(self) -> None:
        check_choice("task", self.task, Task)
        if self.outputs.logits is None and self.outputs.scores is None and self.detector is None:
            raise ModelError(
                "metadata: found neither a logits nor a scores output, expected one: instrument the original file again"
            )
        if self.labels and len(self.labels) != self.classes:
            raise OnnxplainError(
                f"labels: found {len(self.labels)}, but the model has {self.classes} classes: give one label per class"
            )
        if (self.box is None) != (self.outputs.box is None):
            raise ModelError(
                "metadata: found only one of box format and box output, expected both or neither: "
                "instrument the original file again"
            )
        if self.tail is not None and [layer.name for layer in self.layers][-1:] != [self.tail.layer]:
            raise ModelError(
                f"metadata: the tail belongs to layer {self.tail.layer!r}, expected the last layer: "
                "instrument the original file again"
            )

    def label(self, class_id: int) -> str:
        """The label of the class, or its index as text if the file has no labels."""
        return self.labels[class_id] if self.labels else str(class_id)

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
        """The JSON text for ``metadata_props["onnxplain"]``."""
        tree = asdict(self)
        tree["input"].update(tree["input"].pop("preprocessing"))
        if self.detector is None:
            del tree["detector"]
        return json.dumps(tree, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Parse the metadata. Raises ModelError for another contract version or malformed JSON."""
        try:
            tree = json.loads(text)
            version = tree["version"]
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"metadata: not onnxplain JSON ({error}): instrument the original file again") from error
        if version not in READABLE_VERSIONS:
            readable = " or ".join(map(str, READABLE_VERSIONS))
            raise ModelError(
                f"metadata: found contract version {version}, expected version {readable}: "
                "instrument the original file again with this onnxplain"
            )
        try:
            return _parse(tree)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ModelError(f"metadata: malformed ({error}): instrument the original file again") from error


def _parse(tree: Mapping[str, Any]) -> ModelSpec:
    source = tree["input"]
    # Files of version 1 have none of these.
    optional = {"crop_share", "pixels", "depth"} - set(source)
    preprocessing = Preprocessing(**{f.name: source[f.name] for f in fields(Preprocessing) if f.name not in optional})
    return ModelSpec(
        task=tree["task"],
        input=InputSpec(source["name"], source["layout"], source["size_hw"], preprocessing, _parse_origins(source)),
        outputs=OutputRoles(**tree["outputs"]),
        classes=int(tree["classes"]),
        box=BoxSpec(**tree["box"]) if tree["box"] else None,
        layers=tuple(map(_parse_layer, tree["layers"])),
        labels=tuple(tree["labels"]),
        tail=TailSpec(**tree["tail"]) if tree.get("tail") else None,
        shuffle_seed=None if tree.get("shuffle_seed") is None else int(tree["shuffle_seed"]),
        gated=bool(tree.get("gated", True)),
        detector=DetectorSpec.of_tree(tree["detector"]) if tree.get("detector") else None,
    )


def _parse_origins(source: Mapping[str, Any]) -> Origins:
    """Part by part since version 2; version 1 says of the whole whether it is assumed."""
    if "origins" not in source:
        return Origins.of_all(ASSUMED if source.get("assumed", False) else STATED)
    return Origins(**{part: Origin(**origin) for part, origin in source["origins"].items()})


def _parse_layer(source: Mapping[str, Any]) -> LayerSpec:
    """A layer; its frame stands in the file since version 2."""
    frame = source.get("frame")
    return LayerSpec(**{**source, "frame": None if frame is None else MapFrame(**frame)})
