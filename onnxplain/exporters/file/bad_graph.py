"""Graphs that break the libraries, or the arithmetic of sizes: one line in place of their errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError
from onnx_ir.serde import SerdeError

from onnxplain.errors import ModelError

# What onnx, onnx_ir and protobuf raise for graphs that are no graphs, and what sizes of 0 or of 2^60 lead to.
BAD_GRAPH = (
    ArithmeticError,
    MemoryError,
    RecursionError,
    UnicodeError,
    DecodeError,
    EncodeError,
    SerdeError,
    ir.passes.PassError,
    ir.passes.InvariantError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)


@contextmanager
def bad_graph_is_model_error() -> Iterator[None]:
    """Raise ModelError, with what was found, for an error that only a graph which is not valid can cause."""
    try:
        yield
    except BAD_GRAPH as error:
        first_line = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            f"found a graph that is not valid or too large ({type(error).__name__}: {first_line}), expected an ONNX "
            "model that onnx.checker accepts: export it again"
        ) from error
