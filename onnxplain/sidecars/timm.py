"""timm's ``pretrained_cfg`` in ``config.json``.

Keys: https://huggingface.co/docs/timm/reference/data (`resolve_data_config`, `create_transform`) and
https://huggingface.co/docs/timm/reference/hfhub (the file). `interpolation` is not read: images are always resized with
antialiased linear interpolation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxplain.contract import PreprocessingParts
from onnxplain.contract.expected import MOST_CHANNELS
from onnxplain.sidecars.facts import SidecarFacts, Sourced, unless_unusable
from onnxplain.sidecars.labels import labels_of_tree
from onnxplain.sidecars.problem import UnusableError
from onnxplain.sidecars.resizing import Resizing
from onnxplain.sidecars.surroundings import Surroundings, as_object, load_object
from onnxplain.sidecars.values import divisors, per_channel, positive, size_hw, whole

FILE = "config.json"
_SOURCE = "config.json (timm)"


def read_timm(around: Surroundings) -> SidecarFacts:
    """Labels, size, channels and preprocessing; nothing from a config.json without `pretrained_cfg`."""
    path = around.find(FILE)
    if path is None:
        return SidecarFacts()
    try:
        tree = load_object(path)
        if "pretrained_cfg" not in tree:
            return SidecarFacts()
        config = as_object(tree["pretrained_cfg"])
    except UnusableError as error:
        return SidecarFacts(problems=(error.at(FILE),))
    names = tree.get("label_names", config.get("label_names"))
    facts = SidecarFacts()
    if names is not None:
        facts = unless_unusable(FILE, lambda: SidecarFacts(labels=Sourced(labels_of_tree(names), _SOURCE)))
    return facts.over(unless_unusable(FILE, lambda: _preprocessing(config)))


def _preprocessing(config: Mapping[str, Any]) -> SidecarFacts:
    size = config.get("input_size")
    if not isinstance(size, list) or len(size) != 3:
        raise UnusableError("a pretrained_cfg without an input_size", "channels, height and width")
    channels, sides = whole("input_size", size[0], MOST_CHANNELS), size_hw("input_size", size[1:])
    facts = SidecarFacts(
        input_size_hw=Sourced(sides, _SOURCE), channels=Sourced(channels, _SOURCE), layout=Sourced("nchw", _SOURCE)
    )
    resize = unless_unusable(FILE, lambda: SidecarFacts(parts=Sourced(_resizing(config, sides).parts, _SOURCE)))
    if "mean" not in config or "std" not in config or channels not in (1, 3):
        return facts.over(resize)
    mean, std = per_channel("mean", config["mean"]), divisors("std", config["std"])
    if not {len(mean), len(std)} <= {1, channels}:
        raise UnusableError(f"{len(mean)} numbers in mean and {len(std)} in std", f"{channels}, one per channel")
    numbers = PreprocessingParts("gray" if channels == 1 else "rgb", 1 / 255, mean, std)
    parts = numbers if resize.parts is None else numbers.over(resize.parts.value)
    return facts.over(SidecarFacts(parts=Sourced(parts, _SOURCE), problems=resize.problems))


def _resizing(config: Mapping[str, Any], sides: tuple[int, int]) -> Resizing:
    share, mode = positive("crop_pct", config.get("crop_pct") or 0.875), config.get("crop_mode") or "center"
    if mode == "center":
        return Resizing.crop(sides, share)
    if mode == "squash" and share == 1:
        return Resizing.stretch(sides)
    raise UnusableError("a crop_mode that is not supported", "center, or squash with a crop_pct of 1")
