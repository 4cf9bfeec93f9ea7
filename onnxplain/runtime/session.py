"""Open an ONNX Runtime session on a file, or raise an error of one line with the reason."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnxplain.contract.detectors import custom_operator_advice
from onnxplain.errors import ModelError, OnnxplainError
from onnxplain.machine.onnx_runtime import import_onnxruntime
from onnxplain.runtime.image import describe_start, one_line
from onnxplain.runtime.openvino import OPENVINO, source_for_openvino
from onnxplain.runtime.precision import Precision, apply_precision

_SUFFIX = "ExecutionProvider"
_LOG_FATAL_ONLY = 4


class Session(Protocol):
    """The part of ``onnxruntime.InferenceSession`` that the engine uses."""

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[Any]:
        """Compute the named outputs; None: all outputs."""

    def io_binding(self) -> Any:
        """An empty binding of inputs and outputs to memory."""

    def run_with_iobinding(self, iobinding: Any) -> None:
        """Compute the bound outputs."""

    def get_inputs(self) -> list[Any]:
        """Required inputs: name, type, shape."""

    def get_overridable_initializers(self) -> list[Any]:
        """Optional inputs: those with a default."""

    def get_outputs(self) -> list[Any]:
        """Outputs: name, type, shape."""

    def get_providers(self) -> list[str]:
        """The execution providers in use, the preferred one first."""

    def get_modelmeta(self) -> Any:
        """The file's metadata."""


def open_session(
    path: Path, providers: Sequence[str] | None, threads: int | None, precision: Precision = "float32"
) -> Session:
    """Load a model; `providers` are names such as ``cpu``, ``cuda`` or ``CUDAExecutionProvider``.

    None: CUDA if ONNX Runtime has it, then the CPU. Raises OnnxplainError if a provider is missing or ONNX Runtime
    replaced it, if no provider supports the precision (`apply_precision`), and if ONNX Runtime is not installed; raises
    ModelError for a file that cannot be used.
    """
    _check_file(path)
    if threads is not None and threads < 1:
        raise OnnxplainError(f"threads: found {threads}, expected a positive number, or None for all cores")
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    # ONNX Runtime would log a warning for each optional input, and each failure that our errors report anyway.
    options.log_severity_level = _LOG_FATAL_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
    names = choose_providers(providers, onnxruntime.get_available_providers())
    configured = apply_precision(precision, names, threads, options)
    source = source_for_openvino(path, options) if OPENVINO in names else str(path)
    try:
        # Without enable_fallback=0, ONNX Runtime prints a message and uses the CPU if a provider fails.
        session: Session = onnxruntime.InferenceSession(source, options, providers=configured, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ModelError(_explain_failure(path, error)) from error
    if providers is not None:
        check_providers(names, session.get_providers())
    return session


def available_providers() -> tuple[str, ...]:
    """The execution providers that ONNX Runtime offers. Raises OnnxplainError if it is not installed."""
    return tuple(import_onnxruntime().get_available_providers())


def choose_providers(asked: Sequence[str] | None, available: Sequence[str]) -> list[str]:
    """ONNX Runtime's names of the providers asked for, in order. Raises OnnxplainError for an unknown one."""
    if asked is None:
        return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    by_name = {name.removesuffix(_SUFFIX).lower(): name for name in available}
    chosen = []
    for name in [asked] if isinstance(asked, str) else asked:
        short = name.removesuffix(_SUFFIX).lower()
        if short not in by_name:
            hint = ': run pip install "onnxplain[gpu]" in place of [cpu]' if short == "cuda" else ""
            raise OnnxplainError(
                f"provider: found {name!r}, expected one that this ONNX Runtime has "
                f"({', '.join(sorted(by_name))}){hint}"
            )
        chosen.append(by_name[short])
    if not chosen:
        raise OnnxplainError(f"providers: found none, expected at least one of {', '.join(sorted(by_name))}")
    return chosen


def check_providers(asked: Sequence[str], running: Sequence[str]) -> None:
    """Raise OnnxplainError if ONNX Runtime dropped a provider, which it does if libraries are missing."""
    dropped = [name for name in asked if name not in running]
    if dropped:
        raise OnnxplainError(
            f"provider: found {', '.join(running)}, expected {', '.join(dropped)}, which ONNX Runtime could not start: "
            "install the libraries it needs (see the log above), or use `cpu`"
        )


def run_session(
    session: Session, path: Path, output_names: Sequence[str], feed: Mapping[str, npt.NDArray[np.generic]]
) -> list[Any]:
    """Call ``session.run``. If it fails, raise a ModelError of one line."""
    try:
        return session.run(list(output_names), dict(feed))
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise run_failure(path, error) from error


def with_batch_axis(output: Any) -> Any:
    """An output of a graph that takes one image without a batch axis, as that of a batch of one.

    An output that has an axis of length 1 in front already, as those that the contract adds do, stays as it is.
    """
    if not isinstance(output, np.ndarray) or (output.ndim > 1 and len(output) == 1):
        return output
    return output[None]


def run_failure(path: Path, error: Exception) -> ModelError:
    """The ModelError, of one line, for an error that ONNX Runtime raised while it ran a model."""
    return ModelError(f"{path}: ONNX Runtime failed while running the model: {_message(error)}")


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ModelError(f"{path}: found no such file, expected an ONNX model: check the path")
    if path.is_dir():
        raise ModelError(f"{path}: found a folder, expected an ONNX file: name the .onnx file in it")
    if not os.access(path, os.R_OK):
        raise ModelError(f"{path}: permission denied, expected an ONNX model: check the file's permissions")
    if path.stat().st_size == 0:
        raise ModelError(f"{path}: found an empty file (0 bytes), expected an ONNX model: download it again")


def _explain_failure(path: Path, error: Exception) -> str:
    message = _message(error)
    if advice := custom_operator_advice(message):
        return f"{path}: {advice}"
    if "Protobuf parsing failed" in message or "No graph was found" in message:
        return (
            f"{path}: found a truncated file or another format ({describe_start(path)}), expected a complete ONNX "
            "model: download or export it again"
        )
    if "xternal data" in message or "External initializer" in message:
        return (
            f"{path}: found an external weights file that cannot be read ({message}), expected it in the folder of "
            "the model: put it there, or save the model as one file"
        )
    return f"{path}: found a model that ONNX Runtime cannot load ({message}), expected a valid one: check the model"


def _message(error: Exception) -> str:
    """ONNX Runtime's message without its code, ``[ONNXRuntimeError] : 1 : FAIL :``."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", one_line(error))
