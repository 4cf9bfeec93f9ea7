"""All that a file says about itself: `ModelSpec`, and its JSON in ``metadata_props``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from onnxplain.contract.choices import Task, check_choice
from onnxplain.contract.names import CONTRACT_VERSION
from onnxplain.contract.preprocessing import Preprocessing
from onnxplain.contract.specs import BoxSpec, InputSpec, LayerSpec, OutputRoles, TailSpec
from onnxplain.errors import ModelError, OnnxplainError


@dataclass(frozen=True)
class ModelSpec:
    """All that a file says about itself; `layers` stand in the order of the graph, the last is the default.

    `tail` is the file of what lies behind the last layer, None where none was written. `shuffle_seed`: the model's
    weights were shuffled with this seed, so that it is good for sanity checks alone; None for any other model. `gated`:
    gradients are computed where `explain` asks for them; otherwise there is no such input, and every run computes them.
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
    version: int = field(default=CONTRACT_VERSION)

    def __post_init__(self) -> None:
        check_choice("task", self.task, Task)
        if self.outputs.logits is None and self.outputs.scores is None:
            raise ModelError("metadata: neither a logits nor a scores output is named")
        if self.labels and len(self.labels) != self.classes:
            raise OnnxplainError(
                f"labels: found {len(self.labels)}, but the model has {self.classes} classes: give one label per class"
            )
        if (self.box is None) != (self.outputs.box is None):
            raise ModelError("metadata: a box output needs its format, and a format its output")
        if self.tail is not None and [layer.name for layer in self.layers][-1:] != [self.tail.layer]:
            raise ModelError(f"metadata: the tail belongs to {self.tail.layer!r}, which is not the last layer")

    def label(self, class_id: int) -> str:
        """The class's label, or its index as text where the file names no labels."""
        return self.labels[class_id] if self.labels else str(class_id)

    def with_preprocessing(self, preprocessing: Preprocessing) -> ModelSpec:
        """The same model, its preprocessing replaced by one that the user stated."""
        return replace(self, input=replace(self.input, preprocessing=preprocessing, assumed=False))

    def to_json(self) -> str:
        """The text that stands in ``metadata_props["onnxplain"]``."""
        tree = asdict(self)
        tree["input"].update(tree["input"].pop("preprocessing"))
        return json.dumps(tree, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Parse the metadata; raises ModelError for another version or a malformed tree."""
        try:
            tree = json.loads(text)
            version = tree["version"]
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"metadata: not onnxplain JSON ({error}): instrument the original file again") from error
        if version != CONTRACT_VERSION:
            raise ModelError(
                f"metadata: contract version {version}, this onnxplain reads version {CONTRACT_VERSION}: "
                "instrument the original file again with this onnxplain"
            )
        try:
            return _parse(tree)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ModelError(f"metadata: malformed ({error}): instrument the original file again") from error


def _parse(tree: Mapping[str, Any]) -> ModelSpec:
    source = tree["input"]
    preprocessing = Preprocessing(**{f.name: source[f.name] for f in fields(Preprocessing)})
    return ModelSpec(
        task=tree["task"],
        input=InputSpec(
            source["name"], source["layout"], source["size_hw"], preprocessing, source.get("assumed", False)
        ),
        outputs=OutputRoles(**tree["outputs"]),
        classes=int(tree["classes"]),
        box=BoxSpec(**tree["box"]) if tree["box"] else None,
        layers=tuple(LayerSpec(**layer) for layer in tree["layers"]),
        labels=tuple(tree["labels"]),
        tail=TailSpec(**tree["tail"]) if tree.get("tail") else None,
        shuffle_seed=None if tree.get("shuffle_seed") is None else int(tree["shuffle_seed"]),
        gated=bool(tree.get("gated", True)),
    )
