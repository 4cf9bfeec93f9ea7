"""Whether a file holds a detector: its outputs, operators and metadata, as the table of layouts is asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.contract import Completed, ImageInput, PreprocessingParts, complete, count_channels
from onnxplain.contract.detectors import (
    LAYOUTS,
    DetectorHints,
    DetectorSpec,
    GraphEnd,
    GraphOutput,
    NoDetector,
    find_ends,
    recognise,
)
from onnxplain.contract.preprocessing import INTEGERS, Preprocessing, preset
from onnxplain.errors import ModelError
from onnxplain.runtime.arrays import AnyArray
from onnxplain.runtime.detection.columns import Quantization
from onnxplain.runtime.protobuf.graph_reader import read_graph
from onnxplain.runtime.protobuf.model_facts import opened_model
from onnxplain.runtime.protobuf.output_scales import read_output_scales
from onnxplain.runtime.session import Session

SIZE_INPUTS = ("orig_target_sizes",)
"""Inputs beside the image that take its width and height, int64 [N, 2]: RT-DETR's and D-FINE's."""


@dataclass(frozen=True)
class OutputsSeen:
    """The outputs of one run by name, for an input of that size."""

    arrays: Mapping[str, AnyArray]
    size_hw: tuple[int, int]


def find_detector(session: Session, path: Path, seen: OutputsSeen, hints: DetectorHints) -> DetectorSpec | NoDetector:
    """The detector in a file, or what each layout lacks. Of the outputs only shapes and types are looked at.

    The operators of the graph are read where names and shapes alone do not rule every layout out. Raises
    OnnxplainError for a stated layout that does not exist.
    """
    declared = {tensor.name: tuple(tensor.shape or ()) for tensor in session.get_outputs()}
    outputs = tuple(
        GraphOutput(name, np.asarray(array).dtype.name, np.shape(array))
        for name, array in seen.arrays.items()
        if isinstance(array, np.ndarray)
    )
    found = recognise(GraphEnd(outputs), seen.size_hw, hints)
    if isinstance(found, NoDetector) and not found.is_refused:
        return found
    with opened_model(path) as model:
        graph = read_graph(model)
        nodes = [(node.operator, node.inputs, node.outputs) for node in graph.nodes]
        ends = find_ends(nodes, [output.name for output in outputs])
        operators = frozenset(node.operator for node in graph.nodes)
    end = GraphEnd(tuple(replace(output, ends=ends[output.name]) for output in outputs), operators)
    found = recognise(end, seen.size_hw, hints)
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
    return complete(
        stated.with_preset(image.dtype, image.channels), read, source, family_preprocessing(spec.layout_name, image)
    )


def family_preprocessing(layout_name: str, image: ImageInput) -> Preprocessing:
    """The family's preprocessing, fitted to an image input: raw pixels for integers, one mean for other channels."""
    usual = LAYOUTS[layout_name].preprocessing
    count = count_channels(image.channels)
    if image.dtype in INTEGERS:
        channels = usual.channels if count == usual.channel_count else image.channels
        return replace(preset("raw", image.dtype, image.channels), channels=channels, resize=usual.resize)
    if count == usual.channel_count:
        return usual
    mean, std = (sum(numbers) / len(numbers) for numbers in (usual.mean, usual.std))
    return replace(usual, channels=image.channels, mean=(mean,), std=(std,))


def size_feed(session: Session, size_hw: tuple[int, int], count: int) -> dict[str, npt.NDArray[Any]]:
    """The inputs of `SIZE_INPUTS` that the session has: width and height of its image input, for `count` images.

    So boxes come in pixels of the input, as those of other layouts.
    """
    dtypes = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}
    return {
        tensor.name: np.full((count, 2), size_hw[::-1], dtypes.get(tensor.type, np.int64))
        for tensor in session.get_inputs()
        if tensor.name in SIZE_INPUTS
    }


def read_quantization(path: Path, spec: DetectorSpec, dtypes: Mapping[str, str]) -> dict[str, Quantization]:
    """Scale and zero point of the outputs of eight bits.

    Raises ModelError where the file does not say them: then the numbers mean nothing.
    """
    names = tuple(name for name in spec.output_names if dtypes.get(name) in INTEGERS)
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
    return {name: Quantization(*scales[name]) for name in names}
