"""What a graph would allocate, told from its constants before it runs. Exporters and runtime each read a model."""

from onnxplain.contract.allocations.check import check_allocations
from onnxplain.contract.allocations.graph import PlainFunction, PlainGraph, PlainModel, PlainNode

__all__ = ["PlainFunction", "PlainGraph", "PlainModel", "PlainNode", "check_allocations"]
