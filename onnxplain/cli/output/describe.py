"""Descriptions of a model file, for people."""

from __future__ import annotations

from collections.abc import Sequence

from onnxplain.cli.output.detector_lines import describe_detector, describe_detector_task
from onnxplain.cli.output.terminal import say
from onnxplain.contract import (
    CROP_SHARE,
    AttentionSpec,
    ExtraInput,
    HeadSpec,
    LayerSpec,
    ModelSpec,
    Preprocessing,
    Quantization,
    UnusedOutput,
    is_batched,
)

_LABELS_SHOWN = 5
_VALUES_SHOWN = 4
_PROBABLE = ("classes", "labels", "mask")
_SIZES = {
    "classes": "classes",
    "labels": "labels",
    "values": "values",
    "box": "coordinates",
    "embedding": "numbers",
    "mask": "classes",
}
_EVIDENCE = {
    "metadata": "as the file's metadata say",
    "stated": "stated",
    "read": "as {source} says",
    "graph": "told by {source}",
    "assumed": "assumed (otherwise give --head NAME:KIND)",
}


def describe_spec(spec: ModelSpec) -> list[tuple[str, str]]:
    """Titles and texts, in reading order."""
    height, width = spec.input.size_hw
    lines = [
        ("task", _describe_task(spec)),
        *_describe_labels(spec),
        ("input", f"{spec.input.name}, {spec.input.layout}, {height}x{width}"),
        *_describe_quantization(spec.input.quantization),
        ("preprocessing", describe_preprocessing(spec.input.preprocessing)),
        *_describe_origins(spec),
        *[("head", _describe_head(head)) for head in spec.heads],
        *describe_detector(spec),
    ]
    if spec.cam is not None:
        lines.append(("CAM weights", spec.cam.weights))
    if spec.box is not None:
        lines.append(("box", f"{spec.box.format}, {spec.box.units}"))
    lines += _describe_attention(spec.attention)
    lines += [("input", _describe_extra(extra, spec)) for extra in spec.extra_inputs]
    if not spec.gated:
        lines.append(("gate", "none: every run computes the gradients of all layers"))
    if spec.shuffle_seed is not None:
        lines.append(("weights", f"shuffled, seed {spec.shuffle_seed}: only for sanity checks, not for predictions"))
    return lines


def describe_unused(unused: Sequence[UnusedOutput]) -> list[tuple[str, str]]:
    """One line per output that is no head, with the reason."""
    return [("no head", str(output)) for output in unused]


def describe_targets_at_once(spec: ModelSpec, fixed_batch: int | None) -> list[tuple[str, str]]:
    """Why a run explains only one target of an image, if a layer does. `fixed_batch`: the batch size of the file."""
    single = [layer.name for layer in spec.layers if not layer.many_targets]
    if not single:
        return []
    if any(layer.frame is None for layer in spec.layers):
        why = "the file has contract version 1; `onnxplain instrument` renews it"
    elif fixed_batch is None:
        why = "the batch cannot be followed through the graph, or the images depend on each other"
    elif fixed_batch > 1:
        why = f"the batch is fixed at {fixed_batch}"
    elif not is_batched(spec.input.layout):
        why = "the input has no batch axis, and inside the graph it is not an axis of its own everywhere"
    else:
        why = "the batch of 1 is fixed, and not an axis of its own everywhere; `instrument --batch auto` frees it"
    where = "" if len(single) == len(spec.layers) else f" at {', '.join(single)}"
    return [("targets", f"one per image in a run{where}: {why}")]


def _describe_task(spec: ModelSpec) -> str:
    if spec.detector is not None:
        return describe_detector_task(spec)
    if spec.head.kind == "classes":
        return f"{spec.task}, {spec.classes} classes"
    return f"{spec.head.kind}, {spec.head.size} {_SIZES[spec.head.kind]}"


def _describe_head(head: HeadSpec) -> str:
    """Name, kind, size, outputs, and how the kind was told."""
    height, width = head.map_size_hw or (0, 0)
    size = f" of {height}x{width}" if head.kind == "mask" else ""
    carriers = {"logits" if head.kind in _PROBABLE else "numbers": head.logits, "scores": head.scores}
    outputs = ", ".join(f"{role} {name}" for role, name in carriers.items() if name is not None)
    told = _EVIDENCE[head.evidence.kind].format(source=head.evidence.source)
    return f"{head.name}: {head.kind}, {head.size} {_SIZES[head.kind]}{size} ({outputs}), {told}"


def _describe_extra(extra: ExtraInput, spec: ModelSpec) -> str:
    """An input besides the image, and what it is given."""
    value = "the default in the file"
    if extra.value is not None:
        more = " …" if len(extra.value) > _VALUES_SHOWN else ""
        value = ", ".join(f"{each:g}" for each in extra.value[:_VALUES_SHOWN]) + more
    # A detector's boxes come in pixels of its input, and the runtime takes them to the photo.
    whose = "the image" if spec.detector is None else "the model's input"
    fills = {"image_size_hw": f"height and width of {whose}", "image_size_wh": f"width and height of {whose}"}
    return f"{extra.name}, {extra.dtype}: {fills.get(extra.fill, value)}"


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
        say(f"  {title:<{width}}  {text}")


def layer_columns(layers: Sequence[LayerSpec]) -> list[tuple[str, str, str]]:
    """Name, channels and size of each instrumented layer."""
    return [(layer.name, str(layer.channels), f"{layer.size_hw[0]}x{layer.size_hw[1]}") for layer in layers]


def _describe_attention(attention: AttentionSpec | None) -> list[tuple[str, str]]:
    if attention is None:
        return []
    (height, width), others = attention.size_hw, attention.tokens_before + attention.tokens_after
    beside = f" and {others} other{'s' if others > 1 else ''}" if others else ""
    heads = sorted({layer.channels for layer in attention.layers})
    layers = f"{len(attention.layers)} layers of {' or '.join(map(str, heads))} heads"
    return [("attention", f"{layers}, {attention.tokens} tokens: {height}x{width} patches{beside}")]


def _describe_labels(spec: ModelSpec) -> list[tuple[str, str]]:
    """The labels of the default head; that there are none, only where it has classes or labels."""
    labels = spec.labels
    if labels:
        shown = "; ".join(labels[:_LABELS_SHOWN])
        return [("labels", f"{shown}; … ({len(labels)})" if len(labels) > _LABELS_SHOWN else shown)]
    if spec.detector is None and spec.head.kind not in _PROBABLE:
        return []
    named = "classes" if spec.detector is not None else _SIZES[spec.head.kind]
    return [("labels", f"none in the file: {named} are shown by index; give their names with --labels FILE")]


def _describe_quantization(quantization: Quantization | None) -> list[tuple[str, str]]:
    if quantization is None:
        return []
    low, high = quantization.limits
    return [("quantization", f"{quantization}: real values from {low:.4g} to {high:.4g}")]


def _scale_text(scale: float) -> str:
    inverse = round(1 / scale, 9) if scale > 0 else 0.0
    return f"1/{inverse:g}" if 1 < inverse < 1e6 and 1 / float(f"{inverse:g}") == scale else f"{scale:g}"


def _numbers_text(numbers: Sequence[float]) -> str:
    return f"{numbers[0]:g}" if len(set(numbers)) == 1 else f"({', '.join(f'{value:g}' for value in numbers)})"
