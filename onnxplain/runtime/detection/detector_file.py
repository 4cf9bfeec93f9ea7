"""Whether a file holds a detector: its outputs, operators and metadata, as the table of layouts is asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxplain.contract import (
    INTEGER_LIMITS,
    Completed,
    GraphEnd,
    ImageInput,
    Preprocessing,
    PreprocessingParts,
    Quantization,
    complete,
    count_channels,
    preset,
)
from onnxplain.contract.detectors import (
    LAYOUTS,
    DetectorHints,
    DetectorSpec,
    NoDetector,
    read_outputs,
    recognise,
)
from onnxplain.contract.quantization import IntegerType
from onnxplain.errors import ModelError
from onnxplain.runtime.protobuf.model_facts import opened_model
from onnxplain.runtime.protobuf.output_scales import read_output_scales
from onnxplain.runtime.sessions.session import Session


def find_detector(
    session: Session, end: GraphEnd, size_hw: tuple[int, int] | None, hints: DetectorHints
) -> DetectorSpec | NoDetector:
    """The detector in a file whose graph ends so, or what each layout lacks. `size_hw`: of its image input.

    Raises OnnxplainError for a stated layout that does not exist.
    """
    declared = {tensor.name: tuple(tensor.shape or ()) for tensor in session.get_outputs()}
    found = recognise(read_outputs(end), size_hw, hints)
    return _with_open_count(found, declared) if isinstance(found, DetectorSpec) else found


def _with_open_count(spec: DetectorSpec, declared: Mapping[str, tuple[Any, ...]]) -> DetectorSpec:
    """The detector without the number of candidates of one run, where it depends on the image."""
    if not spec.layout.any_count:
        return spec
    sides = [side for name in spec.output_names for side in declared[name][0 if spec.layout.one_image else 1 :]]
    return spec if all(isinstance(side, int) for side in sides) else replace(spec, candidates=None)


def assumed_input(
    spec: DetectorSpec, image: ImageInput, stated: PreprocessingParts, read: PreprocessingParts, source: str | None
) -> Completed:
    """The preprocessing: what is stated or read, and for the rest what the detector's family usually has.

    Metadata of Ultralytics do not say how images are resized. It follows from the layout: its RT-DETR stretches them,
    its YOLOs lay them in a letterbox.
    """
    if spec.layout.ultralytics and read.resize is not None:
        read = replace(read, resize=spec.layout.preprocessing.resize)
    parts = stated.with_preset(image.dtype, image.channels, image.quantization)
    return complete(parts, read, source, family_preprocessing(spec.layout_name, image))


def family_preprocessing(layout_name: str, image: ImageInput) -> Preprocessing:
    """The family's preprocessing, fitted to an image input: one mean for other channels, raw pixels for integers.

    Integers whose quantization holds the family's values are given these.
    """
    usual, count = LAYOUTS[layout_name].preprocessing, count_channels(image.channels)
    quantized = image.quantization is not None and count == usual.channel_count and image.quantization.holds(usual)
    if image.dtype in INTEGER_LIMITS and not quantized:
        channels = usual.channels if count == usual.channel_count else image.channels
        raw = preset("raw", image.dtype, image.channels, image.quantization)
        return replace(raw, channels=channels, resize=usual.resize)
    if count == usual.channel_count:
        return usual
    mean, std = (sum(numbers) / len(numbers) for numbers in (usual.mean, usual.std))
    return replace(usual, channels=image.channels, mean=(mean,), std=(std,))


def read_quantization(path: Path, spec: DetectorSpec, dtypes: Mapping[str, IntegerType]) -> dict[str, Quantization]:
    """Scale and zero point of the outputs of eight bits; `dtypes` names those.

    Raises ModelError where the file does not say them: then the numbers mean nothing.
    """
    names = tuple(name for name in spec.output_names if name in dtypes)
    if not names:
        return {}
    with opened_model(path) as model:
        scales = read_output_scales(model, names)
    missing = [name for name in names if name not in scales]
    if missing:
        raise ModelError(
            f"{path}: found outputs of eight bits without one scale ({', '.join(missing)}), expected a QuantizeLinear "
            "before them: export the model with float outputs"
        )
    return {name: Quantization(*scales[name], dtypes[name]) for name in names}
