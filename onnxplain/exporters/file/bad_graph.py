"""Graphs that break the libraries, or the arithmetic of sizes: one line in place of their errors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError
from onnx_ir.serde import SerdeError

from onnxplain.errors import ModelError

_P = ParamSpec("_P")
_R = TypeVar("_R")
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


# What a graph that contradicts itself leads to. Of a valid graph these are faults of this package.
MAYBE_BAD_GRAPH = (AttributeError, LookupError, TypeError, ValueError)


def refuses_bad_graphs(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A decorator for calls whose first argument is a model's path.

    Raises ModelError, with what was found, for an error that only a graph which is not valid can cause.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except BAD_GRAPH as error:
            raise _model_error(error) from error
        except MAYBE_BAD_GRAPH as error:
            given: list[Any] = [*args, *kwargs.values()]
            if _is_valid(given[0]):
                raise
            raise _model_error(error) from error

    return call


def _is_valid(path: Any) -> bool:
    """Whether onnx accepts the model, with the shapes that it states, and its constants fill their shapes."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
        graph = onnx.load(path).graph
        attributes = [attribute for node in graph.node for attribute in node.attribute if attribute.HasField("t")]
        # The checker lets a scalar of several numbers pass.
        for tensor in (*graph.initializer, *(attribute.t for attribute in attributes)):
            onnx.numpy_helper.to_array(tensor)
    except Exception:  # the checker raises many kinds of errors
        return False
    return True


def _model_error(error: Exception) -> ModelError:
    first_line = (str(error).strip().splitlines() or [""])[0][:200]
    return ModelError(
        f"found a graph that is not valid or too large ({type(error).__name__}: {first_line}), expected a "
        "valid ONNX model: export it again"
    )
