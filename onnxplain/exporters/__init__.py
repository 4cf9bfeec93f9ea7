"""Turn PyTorch modules and ONNX files into explainable graphs.

`instrument` needs the extra ``export``; `export` also needs ``torch``. torch is imported on first use only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxplain.exporters.checks.report import Checks, LayerCheck
from onnxplain.exporters.checks.saturation import Saturation
from onnxplain.exporters.cost import LayerCost, measure_cost
from onnxplain.exporters.instrument import instrument
from onnxplain.exporters.survey import Candidate, survey
from onnxplain.exporters.writing.export_report import ExportReport
from onnxplain.exporters.writing.verdicts import CamVerdict, TailVerdict

if TYPE_CHECKING:
    from onnxplain.exporters.torch_export import export

__all__ = [
    "CamVerdict",
    "Candidate",
    "Checks",
    "ExportReport",
    "LayerCheck",
    "LayerCost",
    "Saturation",
    "TailVerdict",
    "export",
    "instrument",
    "measure_cost",
    "survey",
]


def __getattr__(name: str) -> Any:
    if name == "export":
        from onnxplain.exporters.torch_export import export

        return export
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
