"""Layouts of detectors: the table, and which row a graph's outputs fit. Exporters and the runtime both ask it."""

from onnxplain.contract.detectors.class_labels import class_labels
from onnxplain.contract.detectors.detector_spec import DetectorSpec, Evidence
from onnxplain.contract.detectors.graph_end import GraphEnd, GraphOutput, find_ends
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
    "Evidence",
    "GraphEnd",
    "GraphOutput",
    "Lack",
    "LackKind",
    "LayoutOutput",
    "NoDetector",
    "OperatorRule",
    "check_layout_name",
    "class_labels",
    "custom_operator_advice",
    "find_ends",
    "read_hints",
    "recognise",
]
