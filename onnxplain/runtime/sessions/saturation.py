"""Whether the answers of a quantized file can be wrong on this machine's processor."""

from __future__ import annotations

from pathlib import Path

from onnxplain.errors import ModelError
from onnxplain.machine.processor import eight_bit_saturates
from onnxplain.machine.saturation import products_that_saturate
from onnxplain.runtime.protobuf.graph_reader import read_graph
from onnxplain.runtime.protobuf.wire import WireError


def products_saturating_here(path: Path) -> tuple[str, ...]:
    """The values of a file's main graph that ONNX Runtime's CPU provider may get wrong on this processor.

    None on processors that are exact (`eight_bit_saturates`), for float files, and for weights that cannot saturate.
    Raises ModelError for a file that is no ONNX model.
    """
    if not eight_bit_saturates():
        return ()
    try:
        graph = read_graph(path.read_bytes())
    except WireError as error:
        raise ModelError(f"{path}: found no whole ONNX model ({error}), expected one: export it again") from error
    return products_that_saturate(graph.nodes, graph.eight_bit)
