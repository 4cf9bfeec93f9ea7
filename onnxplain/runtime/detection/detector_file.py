"""Whether a file holds a detector: its outputs, operators and metadata, as the table of layouts is asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxplain.contract import (
    GraphEnd,
    Quantization,
)
from onnxplain.contract.detectors import (
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
