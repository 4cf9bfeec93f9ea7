"""Paddle's ``inference.yml``, ``deploy.yaml`` and ``infer_cfg.yml``: the operators that make the input, and the labels.

PaddleClas and PaddleX: https://github.com/PaddlePaddle/PaddleClas/blob/release/2.6/docs/zh_CN/deployment
PaddleDetection: https://github.com/PaddlePaddle/PaddleDetection/blob/release/2.8/deploy/EXPORT_MODEL.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnxplain.contract import Channels, PreprocessingParts
from onnxplain.sidecars.facts import SidecarFacts, Sourced, unless_unusable
from onnxplain.sidecars.labels import labels_of_tree
from onnxplain.sidecars.problem import UnusableError
from onnxplain.sidecars.resizing import Resizing, crop_share
from onnxplain.sidecars.surroundings import Surroundings, as_object, load_yaml_object
from onnxplain.sidecars.values import divisors, fraction, per_channel, size_hw, whole

FILES = ("inference.yml", "inference.yaml", "deploy.yaml", "deploy.yml", "infer_cfg.yml")
# Where the operators stand, and where the labels do.
_OPERATORS = (("PreProcess", "transform_ops"), ("PreProcess",), ("Preprocess",), ("Deploy", "transforms"))
_LABELS = (("PostProcess", "Topk", "label_list"), ("PostProcess", "label_list"), ("label_list",))
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read_paddle(around: Surroundings) -> SidecarFacts:
    """Labels, size and preprocessing; nothing from a YAML file with none of Paddle's keys."""
    path = around.find(*FILES)
    if path is None:
        return SidecarFacts()
    name = path.name
    try:
        tree = load_yaml_object(path)
    except UnusableError as error:
        return SidecarFacts(problems=(error.at(name),))
    facts = SidecarFacts()
    labels = next((found for keys in _LABELS if (found := _at(tree, keys)) is not None), None)
    if labels is not None:
        facts = unless_unusable(name, lambda: SidecarFacts(labels=Sourced(labels_of_tree(labels), name)))
    operators = next((found for keys in _OPERATORS if isinstance(found := _at(tree, keys), list)), None)
    if operators is not None:
        facts = facts.over(unless_unusable(name, lambda: _facts(operators, name)))
    return facts


@dataclass(frozen=True)
class _Steps:
    """What the operators have said so far."""

    channels: Channels
    numbers: PreprocessingParts
    short_side: int | None = None
    resizing: Resizing | None = None


def _facts(operators: list[Any], name: str) -> SidecarFacts:
    steps = _Steps("rgb", PreprocessingParts(scale=1.0, mean=(0.0,), std=(1.0,)))
    for operator, options in _each(operators):
        if operator not in _STEPS:
            raise UnusableError("an operator that is not supported", f"one of {', '.join(_STEPS)}")
        steps = _STEPS[operator](steps, options)
    numbers = PreprocessingParts(channels=steps.channels).over(steps.numbers)
    if steps.resizing is None:
        return SidecarFacts(parts=Sourced(numbers, name))
    return SidecarFacts(
        parts=Sourced(numbers.over(steps.resizing.parts), name),
        input_size_hw=Sourced(steps.resizing.size_hw, name),
    )


def _each(operators: list[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and options: ``- ResizeImage: {…}``, or ``- {type: Resize, …}``."""
    for operator in operators:
        tree = as_object(operator)
        if isinstance(tree.get("type"), str):
            yield tree["type"], tree
        elif len(tree) == 1:
            ((name, options),) = tree.items()
            yield name, as_object(options or {})
        else:
            raise UnusableError("an operator without a name", "one name with its options")


def _decode(steps: _Steps, options: Mapping[str, Any]) -> _Steps:
    bgr = options.get("img_mode") == "BGR" or options.get("to_rgb") is False
    return replace(steps, channels="bgr" if bgr else "rgb")


def _resize_image(steps: _Steps, options: Mapping[str, Any]) -> _Steps:
    if options.get("resize_short") is not None:
        return replace(steps, short_side=whole("resize_short", options["resize_short"], 2**16))
    if "target_size" in options:
        if options.get("keep_ratio"):
            raise UnusableError("keep_ratio, which is not supported", "a fixed size")
        return replace(steps, resizing=Resizing.stretch(size_hw("target_size", options["target_size"])))
    # The list holds the width first.
    return replace(steps, resizing=Resizing.stretch(size_hw("size", options.get("size"), "wh")))


def _crop_image(steps: _Steps, options: Mapping[str, Any]) -> _Steps:
    cut = size_hw("size", options.get("size"), "wh")
    if steps.short_side is not None:
        return replace(steps, resizing=Resizing.crop(cut, crop_share(cut, steps.short_side)))
    if steps.resizing is None or steps.resizing.size_hw != cut:
        raise UnusableError("an image that is squeezed and then cut, or only cut", "resize_short before it")
    return steps


def _normalize(steps: _Steps, options: Mapping[str, Any]) -> _Steps:
    scale = fraction("scale", options["scale"]) if options.get("scale") is not None else 1 / 255
    if options.get("is_scale") is False:
        scale = 1.0
    if options.get("norm_type") == "none":
        return replace(steps, numbers=PreprocessingParts(scale=scale, mean=(0.0,), std=(1.0,)))
    mean, std = (
        per_channel("mean", _or(options.get("mean"), _IMAGENET[0])),
        divisors("std", _or(options.get("std"), _IMAGENET[1])),
    )
    if {len(mean), len(std)} - {1, 3}:
        raise UnusableError(f"{len(mean)} numbers in mean and {len(std)} in std", "one per channel")
    return replace(steps, numbers=PreprocessingParts(scale=scale, mean=mean, std=std))


def _keep(steps: _Steps, _options: Mapping[str, Any]) -> _Steps:
    return steps


_STEPS: dict[str, Callable[[_Steps, Mapping[str, Any]], _Steps]] = {
    "DecodeImage": _decode,
    "ResizeImage": _resize_image,
    "Resize": _resize_image,
    "CropImage": _crop_image,
    "NormalizeImage": _normalize,
    **dict.fromkeys(("ToCHWImage", "Permute", "KeepKeys"), _keep),
}


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _at(tree: Any, keys: tuple[str, ...]) -> Any:
    """The value under these keys, one inside the other; None where there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree
