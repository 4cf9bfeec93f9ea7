"""The preprocessing of a detector that nobody states: what its family usually has."""

from __future__ import annotations

from dataclasses import replace

from onnxplain.contract.choices import count_channels
from onnxplain.contract.detectors.detector_spec import DetectorSpec
from onnxplain.contract.detectors.table import LAYOUTS
from onnxplain.contract.image_input import ImageInput
from onnxplain.contract.parts import Completed, PreprocessingParts, complete
from onnxplain.contract.preprocessing import Preprocessing, preset
from onnxplain.contract.quantization import INTEGER_LIMITS


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
