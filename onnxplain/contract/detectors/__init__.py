"""Layouts of detectors: the table, and which row a graph's outputs fit. Exporters and the runtime both ask it."""

from onnxplain.contract.detectors.class_labels import class_labels, detector_labels
from onnxplain.contract.detectors.detector_spec import DetectorSpec, LayoutEvidence
from onnxplain.contract.detectors.family_input import assumed_input, family_preprocessing
from onnxplain.contract.detectors.graph_outputs import GraphOutput, GraphOutputs, find_ends, read_outputs
from onnxplain.contract.detectors.hints import DetectorHints, read_hints
from onnxplain.contract.detectors.lack import Lack, LackKind
from onnxplain.contract.detectors.layout import DetectorLayout, LayoutOutput, OperatorRule
from onnxplain.contract.detectors.recognition import NoDetector, check_layout_name, recognise
from onnxplain.contract.detectors.refused import custom_operator_advice
from onnxplain.contract.detectors.table import LAYOUTS

__all__ = [
    "LAYOUTS",
    "DetectorHints",
    "DetectorLayout",
    "DetectorSpec",
    "GraphOutput",
    "GraphOutputs",
    "Lack",
    "LackKind",
    "LayoutEvidence",
    "LayoutOutput",
    "NoDetector",
    "OperatorRule",
    "assumed_input",
    "check_layout_name",
    "class_labels",
    "custom_operator_advice",
    "detector_labels",
    "family_preprocessing",
    "find_ends",
    "read_hints",
    "read_outputs",
    "recognise",
]
