"""The files of Hugging Face's transformers: ``config.json`` and ``preprocessor_config.json``.

Keys: https://huggingface.co/docs/transformers/main_classes/configuration and
https://huggingface.co/docs/transformers/main_classes/image_processor (`BaseImageProcessor`; what a processor's class
does differently stands on the page of its model). `resample` is not read: images are always resized with
antialiased linear interpolation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from onnxplain.contract import Channels, HeadKind, PreprocessingParts
from onnxplain.contract.expected import MOST_CHANNELS
from onnxplain.sidecars.facts import SidecarFacts, Sourced, unless_unusable
from onnxplain.sidecars.labels import labels_of_tree
from onnxplain.sidecars.problem import UnusableError
from onnxplain.sidecars.resizing import Resizing, crop_share
from onnxplain.sidecars.surroundings import Surroundings, load_object
from onnxplain.sidecars.values import divisors, flag, per_channel, positive, size_hw, whole

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
# https://huggingface.co/docs/transformers/main_classes/configuration, problem_type
_KIND_OF_LOSS: Mapping[str, HeadKind] = {
    "single_label_classification": "classes",
    "multi_label_classification": "labels",
    "regression": "values",
}
# The classes of transformers end so, such as ViTForImageClassification.
_KIND_OF_CLASS: Mapping[str, HeadKind] = {
    "ForImageClassification": "classes",
    "ForSemanticSegmentation": "mask",
    "ForDepthEstimation": "values",
}
# From this size on, ConvNeXT's processor squeezes the image to a square instead of cutting out its centre.
_CONVNEXT_SQUEEZES_FROM = 384
_CONVNEXT_CROP = 224 / 256
# Processors that compute more than their file says, or something else. Refused by name.
_OTHERWISE = ("Levit", "Perceiver", "Donut", "VideoMAE", "Vivit", "LayoutLM", "Fuyu", "Pix2Struct", "Siglip2", "Glpn")


def read_config(around: Surroundings) -> SidecarFacts:
    """Labels, size, channels and type of model from config.json; nothing from a config.json without their keys."""
    path = around.find(CONFIG)
    return SidecarFacts() if path is None else unless_unusable(CONFIG, lambda: _config(load_object(path)))


def read_preprocessor_config(around: Surroundings) -> SidecarFacts:
    """Preprocessing and size from preprocessor_config.json."""
    path = around.find(PROCESSOR)
    return SidecarFacts() if path is None else unless_unusable(PROCESSOR, lambda: _processor(load_object(path)))


def _config(tree: Mapping[str, Any]) -> SidecarFacts:
    facts = SidecarFacts()
    for key, read in _CONFIG_KEYS.items():
        if tree.get(key) is not None:
            facts = facts.over(unless_unusable(f"{CONFIG}, {key}", partial(read, tree[key])))
    return facts.over(_kind(tree))


def _kind(tree: Mapping[str, Any]) -> SidecarFacts:
    """What the model answers with: its loss says more than its class."""
    loss = tree.get("problem_type")
    if loss is not None:
        if not isinstance(loss, str) or loss not in _KIND_OF_LOSS:
            return unless_unusable(f"{CONFIG}, problem_type", _unknown_loss)
        return SidecarFacts(kind=Sourced(_KIND_OF_LOSS[loss], f"{CONFIG}, problem_type"))
    classes = tree.get("architectures")
    for name in classes if isinstance(classes, list) else []:
        for end, kind in _KIND_OF_CLASS.items():
            if isinstance(name, str) and name.endswith(end):
                return SidecarFacts(kind=Sourced(kind, f"{CONFIG}, architectures"))
    return SidecarFacts()


def _unknown_loss() -> SidecarFacts:
    raise UnusableError("an unknown problem_type", f"one of {', '.join(_KIND_OF_LOSS)}")


def _id2label(tree: Any) -> SidecarFacts:
    labels = labels_of_tree(tree)
    # What transformers writes where nobody gave labels.
    nameless = all(label == f"LABEL_{index}" for index, label in enumerate(labels))
    return SidecarFacts() if nameless else SidecarFacts(labels=Sourced(labels, CONFIG))


def _image_size(tree: Any) -> SidecarFacts:
    return SidecarFacts(input_size_hw=Sourced(size_hw("image_size", tree), CONFIG))


def _num_channels(tree: Any) -> SidecarFacts:
    return SidecarFacts(
        channels=Sourced(whole("num_channels", tree, MOST_CHANNELS), CONFIG), layout=Sourced("nchw", CONFIG)
    )


def _model_type(tree: Any) -> SidecarFacts:
    return SidecarFacts(model_type=Sourced(tree, CONFIG)) if isinstance(tree, str) else SidecarFacts()


_CONFIG_KEYS = {
    "id2label": _id2label,
    "image_size": _image_size,
    "num_channels": _num_channels,
    "model_type": _model_type,
}


def _processor(tree: Mapping[str, Any]) -> SidecarFacts:
    kind = str(tree.get("image_processor_type", tree.get("feature_extractor_type", "")))
    other = next((name for name in _OTHERWISE if kind.startswith(name)), None)
    if other is not None:
        raise UnusableError(f"a processor of the kind {other}, which does more than this file says", "another kind")
    for key in ("include_top", "rescale_offset", "do_pad", "do_grayscale", "do_image_splitting"):
        if tree.get(key):
            raise UnusableError(f"{key}, which is not supported", "a processor without it")
    facts = unless_unusable(PROCESSOR, lambda: _resized(tree, kind))
    resize = PreprocessingParts() if facts.parts is None else facts.parts.value
    numbers = unless_unusable(PROCESSOR, lambda: SidecarFacts(parts=Sourced(_numbers(tree, kind), PROCESSOR)))
    if numbers.parts is not None:
        parts = numbers.parts.value.over(resize)
        return replace(facts, parts=Sourced(parts, PROCESSOR))
    return facts.over(numbers)


def _numbers(tree: Mapping[str, Any], kind: str) -> PreprocessingParts:
    rescales = flag("do_rescale", tree.get("do_rescale", True))
    scale = positive("rescale_factor", tree.get("rescale_factor", 1 / 255)) if rescales else 1.0
    flips = flag("do_flip_channel_order", tree.get("do_flip_channel_order", kind.startswith("MobileViT")))
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    if flag("do_normalize", tree.get("do_normalize", "image_mean" in tree)):
        if "image_mean" not in tree or "image_std" not in tree:
            raise UnusableError("do_normalize without image_mean and image_std", "both")
        mean, std = per_channel("image_mean", tree["image_mean"]), divisors("image_std", tree["image_std"])
        if len(mean) != len(std):
            raise UnusableError(f"{len(mean)} numbers in image_mean and {len(std)} in image_std", "one per channel")
    # A processor of one number per channel takes any image; with three numbers the image has three channels.
    order: Channels = "bgr" if flips else "rgb"
    channels = order if flips or len(mean) == 3 else None
    return PreprocessingParts(channels, scale, mean, std)


def _resized(tree: Mapping[str, Any], kind: str) -> SidecarFacts:
    resizing = _resizing(tree, kind)
    return SidecarFacts(parts=Sourced(resizing.parts, PROCESSOR), input_size_hw=Sourced(resizing.size_hw, PROCESSOR))


def _resizing(tree: Mapping[str, Any], kind: str) -> Resizing:
    """How the image is resized, and to what size. Raises UnusableError for what the contract cannot express."""
    if not flag("do_resize", tree.get("do_resize", True)) or "size" not in tree:
        raise UnusableError("no resizing to a size", "do_resize and size")
    size, crops = tree["size"], flag("do_center_crop", tree.get("do_center_crop", False))
    short = _short_side(size, kind, crops)
    if short is None:
        if crops and size_hw("crop_size", tree.get("crop_size")) != size_hw("size", size):
            raise UnusableError("an image that is squeezed and then cut", "one of the two")
        return Resizing.stretch(size_hw("size", size))
    if kind.startswith("ConvNext"):
        share = positive("crop_pct", tree.get("crop_pct") or _CONVNEXT_CROP)
        if short >= _CONVNEXT_SQUEEZES_FROM:
            return Resizing.stretch((short, short))
        return Resizing.crop((short, short), share)
    if not crops:
        raise UnusableError("an image resized by its short side and not cut", "do_center_crop")
    cut = size_hw("crop_size", tree.get("crop_size"))
    if tree.get("crop_pct") is not None:  # PoolFormer: the short side becomes size / crop_pct.
        short = int(short / positive("crop_pct", tree["crop_pct"]))
    return Resizing.crop(cut, crop_share(cut, short))


def _short_side(size: Any, kind: str, crops: bool) -> int | None:
    """The length of the short side, if the size states it; None where it is height and width."""
    if isinstance(size, Mapping):
        if set(size) == {"shortest_edge"}:
            return whole("shortest_edge", size["shortest_edge"], 2**16)
        return None
    if kind.startswith(("ConvNext", "CLIP", "ChineseCLIP", "PoolFormer", "MobileNet", "MobileViT", "Bit")):
        return whole("size", size, 2**16)
    if crops and not kind.startswith(("ViT", "DeiT", "Beit", "Siglip")):
        raise UnusableError("a size in one number, whose meaning depends on the processor", "height and width")
    return None
