"""What other tools say about a model: in its ``metadata_props``, and in files beside it. One module per tool.

Runtime and exporters both read it here; neither onnx nor torch is needed.
"""

from onnxplain.sidecars.detector_labels import label_detector
from onnxplain.sidecars.facts import SidecarFacts, Sourced
from onnxplain.sidecars.fit import fit_classes, fit_labels, read_with_facts
from onnxplain.sidecars.problem import SidecarProblem
from onnxplain.sidecars.tools import TOOLS, Tool, read_sidecars

__all__ = [
    "TOOLS",
    "SidecarFacts",
    "SidecarProblem",
    "Sourced",
    "Tool",
    "fit_classes",
    "fit_labels",
    "label_detector",
    "read_sidecars",
    "read_with_facts",
]
