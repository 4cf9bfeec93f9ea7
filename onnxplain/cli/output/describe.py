"""Descriptions of a model file, for people."""

from __future__ import annotations

from collections.abc import Sequence

import click

from onnxplain.cli.output.detector_lines import describe_detector, describe_detector_task
from onnxplain.contract import CROP_SHARE, ModelSpec, OutputRoles, Preprocessing

_LABELS_SHOWN = 5


def describe_spec(spec: ModelSpec) -> list[tuple[str, str]]:
    """Titles and texts, in reading order."""
    height, width = spec.input.size_hw
    lines = [
        ("task", f"{spec.task}, {spec.classes} classes" if spec.detector is None else describe_detector_task(spec)),
        ("labels", _describe_labels(spec.labels)),
        ("input", f"{spec.input.name}, {spec.input.layout}, {height}x{width}"),
        ("preprocessing", describe_preprocessing(spec.input.preprocessing)),
        *_describe_origins(spec),
        *([("outputs", _describe_outputs(spec.outputs))] if spec.detector is None else describe_detector(spec)),
    ]
    if spec.box is not None:
        lines.append(("box", f"{spec.box.format}, {spec.box.units}"))
    if not spec.gated:
        lines.append(("gate", "none: every run computes the gradients of all layers"))
    if spec.shuffle_seed is not None:
        lines.append(("weights", f"shuffled, seed {spec.shuffle_seed}: only for sanity checks, not for predictions"))
    return lines


def describe_preprocessing(preprocessing: Preprocessing) -> str:
    """Channel order, formula with its numbers, and way of resizing."""
    pixel = "pixel" if preprocessing.pixels == "bytes" else "native pixel"
    formula = pixel if preprocessing.scale == 1 else f"{pixel} · {_scale_text(preprocessing.scale)}"
    if any(preprocessing.mean):
        formula = f"{formula} − {_numbers_text(preprocessing.mean)}"
    if any(value != 1 for value in preprocessing.std):
        formula = f"({formula}) / {_numbers_text(preprocessing.std)}"
    depth = "" if preprocessing.depth is None else f", {preprocessing.depth} of 16 bits"
    return f"{_channels_text(preprocessing)}, {formula}, {_resize_text(preprocessing)}{depth}"


def _resize_text(preprocessing: Preprocessing) -> str:
    if preprocessing.resize == "crop" and preprocessing.crop_share != CROP_SHARE:
        return f"crop of {preprocessing.crop_share:g}"
    return preprocessing.resize


def describe_part(preprocessing: Preprocessing, part: str) -> str:
    """The name of a part and its value."""
    texts = {
        "channels": _channels_text(preprocessing),
        "scale": _scale_text(preprocessing.scale),
        "mean": _numbers_text(preprocessing.mean),
        "std": _numbers_text(preprocessing.std),
    }
    return f"{part} {texts.get(part, getattr(preprocessing, part))}"


def _describe_origins(spec: ModelSpec) -> list[tuple[str, str]]:
    """One line per origin, with the parts that come from it."""
    family = "" if spec.detector is None else f", as {spec.detector.layout_name} usually has them"
    hint = f"{family}: if it is wrong, give --preset or single options"
    return [
        ("", f"{origin}: {', '.join(names)}{hint if origin == 'assumed' else ''}")
        for origin, names in spec.input.origins.told.items()
    ]


def _channels_text(preprocessing: Preprocessing) -> str:
    return str(preprocessing.channels) if preprocessing.is_colour else f"{preprocessing.channels} channels"


def print_description(lines: Sequence[tuple[str, str]]) -> None:
    """Print titles and texts in two columns."""
    width = max(len(title) for title, _ in lines)
    for title, text in lines:
        click.echo(f"  {title:<{width}}  {text}")


def layer_columns(spec: ModelSpec) -> list[tuple[str, str, str]]:
    """Name, channels and size of each instrumented layer."""
    return [(layer.name, str(layer.channels), f"{layer.size_hw[0]}x{layer.size_hw[1]}") for layer in spec.layers]


def _describe_labels(labels: Sequence[str]) -> str:
    if not labels:
        return "none in the file: classes are shown by index; give their names with --labels FILE"
    shown = "; ".join(labels[:_LABELS_SHOWN])
    return f"{shown}; … ({len(labels)})" if len(labels) > _LABELS_SHOWN else shown


def _describe_outputs(outputs: OutputRoles) -> str:
    roles = {"logits": outputs.logits, "scores": outputs.scores, "box": outputs.box, "CAM weights": outputs.cam_weights}
    return ", ".join(f"{role}: {name}" for role, name in roles.items() if name is not None)


def _scale_text(scale: float) -> str:
    inverse = round(1 / scale, 9) if scale > 0 else 0.0
    return f"1/{inverse:g}" if 1 < inverse < 1e6 and 1 / float(f"{inverse:g}") == scale else f"{scale:g}"


def _numbers_text(numbers: Sequence[float]) -> str:
    return f"{numbers[0]:g}" if len(set(numbers)) == 1 else f"({', '.join(f'{value:g}' for value in numbers)})"
