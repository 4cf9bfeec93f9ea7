"""Open an ONNX Runtime session on a file, or raise an error of one line with the reason."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onnxplain.contract.allocations import check_allocations
from onnxplain.contract.detectors import custom_operator_advice
from onnxplain.errors import ModelError, OnnxplainError, TimeLimitError
from onnxplain.machine.onnx_runtime import import_onnxruntime
from onnxplain.machine.placement import RECORD_PLACEMENT
from onnxplain.machine.plug_ins import built_in_providers
from onnxplain.machine.provider_choice import check_providers, choose_providers
from onnxplain.machine.providers import OPENVINO
from onnxplain.machine.time_limit import LimitedSession, checked_timeout, current_timeout
from onnxplain.runtime.image import describe_start, one_line
from onnxplain.runtime.protobuf.graph_reader import with_outputs
from onnxplain.runtime.protobuf.model_facts import opened_model
from onnxplain.runtime.protobuf.plain_reader import read_plain_model
from onnxplain.runtime.protobuf.wire import WireError
from onnxplain.runtime.sessions.openvino import EXTERNAL_DATA_FOLDER, source_for_openvino
from onnxplain.runtime.sessions.precision import Precision, configure, forms_for

_LOG_FATAL_ONLY = 4
# ONNX Runtime repeats names from the file, which may be of any length.
_LONGEST_MESSAGE = 600


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

    def get_provider_graph_assignment_info(self) -> list[Any]:
        """What each provider runs, where it was recorded."""

    def get_modelmeta(self) -> Any:
        """The file's metadata."""


def open_session(
    path: Path,
    providers: Sequence[str] | None,
    threads: int | None,
    precision: Precision = "float32",
    timeout: float | None = None,
    *,
    record_placement: bool = False,
) -> Session:
    """Load a model; `providers` are names such as ``cpu``, ``cuda:1`` or ``CUDAExecutionProvider``: `choose_providers`.

    None: CUDA if ONNX Runtime has it, then the CPU. `timeout`: the seconds that one run may take, 0 for no limit; None:
    those of `limit_runs`. `record_placement`: for `find_placement`. Raises OnnxplainError if a provider is missing or
    ONNX Runtime replaced it, if no provider supports the precision (`apply_precision`), and if ONNX Runtime is not
    installed; raises ModelError for a file that cannot be used.
    """
    _check_file(path)
    if threads is not None and threads < 1:
        raise OnnxplainError(f"threads: found {threads}, expected a positive number, or None for all cores")
    onnxruntime = import_onnxruntime()
    _check_allocations(path)
    options = onnxruntime.SessionOptions()
    # ONNX Runtime would log a warning for each optional input, and each failure that our errors report anyway.
    options.log_severity_level = _LOG_FATAL_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
    choices = choose_providers(providers, built_in_providers())
    names = [choice.full_name for choice in choices]
    if record_placement:
        options.add_session_config_entry(RECORD_PLACEMENT, "1")
    configured = configure(choices, precision, threads, options)
    source = source_for_openvino(path, options) if OPENVINO in names else str(path)
    try:
        # Without enable_fallback=0, ONNX Runtime prints a message and uses the CPU if a provider fails.
        loaded = onnxruntime.InferenceSession(source, options, enable_fallback=0, **configured)
        session = LimitedSession(loaded, current_timeout() if timeout is None else checked_timeout(timeout))
        _read_descriptions(session)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise ModelError(_explain_failure(path, error, forms_for(choices))) from error
    if providers is not None:
        check_providers(names, session.get_providers())
    return session


def open_with_outputs(path: Path, names: Sequence[str], timeout: float | None = None) -> Session:
    """The model with more values of its graph as outputs, on the CPU, not optimised: to find out their shapes.

    `timeout`: as in `open_session`, which has opened the file before. Raises ModelError for a file that cannot be used
    so.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_FATAL_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(path.absolute().parent))
    with opened_model(path) as content:
        model = with_outputs(content, names)
    try:
        loaded = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ModelError(_explain_failure(path, error)) from error
    return LimitedSession(loaded, current_timeout() if timeout is None else checked_timeout(timeout))


def available_providers() -> tuple[str, ...]:
    """The execution providers that ONNX Runtime offers. Raises OnnxplainError if it is not installed."""
    return tuple(import_onnxruntime().get_available_providers())


def run_session(
    session: Session, path: Path, output_names: Sequence[str], feed: Mapping[str, npt.NDArray[np.generic]]
) -> list[Any]:
    """Call ``session.run``. If it fails, raise a ModelError or TimeLimitError of one line."""
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


def run_failure(path: Path, error: Exception) -> OnnxplainError:
    """The ModelError or TimeLimitError, of one line, for an error that ONNX Runtime raised while it ran a model."""
    if isinstance(error, TimeLimitError):
        return TimeLimitError(f"{path}: {error}")
    return ModelError(f"{path}: ONNX Runtime failed while running the model: {_message(error)}")


def _read_descriptions(session: Session) -> None:
    """Read every text of the file that will be asked for: those that are not UTF-8 raise an error."""
    _ = session.get_modelmeta().custom_metadata_map
    for tensor in (*session.get_inputs(), *session.get_overridable_initializers(), *session.get_outputs()):
        _ = tensor.name, tensor.type, tensor.shape


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ModelError(f"{path}: found no such file, expected an ONNX model: check the path")
    if path.is_dir():
        raise ModelError(f"{path}: found a folder, expected an ONNX file: name the .onnx file in it")
    if not os.access(path, os.R_OK):
        raise ModelError(f"{path}: permission denied, expected an ONNX model: check the file's permissions")
    if path.stat().st_size == 0:
        raise ModelError(f"{path}: found an empty file (0 bytes), expected an ONNX model: download it again")


def _check_allocations(path: Path) -> None:
    """Raise ModelError for a file whose constants say that it would take too much memory, or that is no ONNX model."""
    with opened_model(path) as content:
        try:
            plain = read_plain_model(content)
        except WireError as error:
            raise ModelError(_explain_incomplete(path)) from error
    try:
        check_allocations(plain)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _explain_incomplete(path: Path) -> str:
    return (
        f"{path}: found a truncated file or another format ({describe_start(path)}), expected a complete ONNX "
        "model: download or export it again"
    )


def _explain_failure(path: Path, error: Exception, forms: str = "") -> str:
    message = _message(error)
    if advice := custom_operator_advice(message):
        return f"{path}: {advice}"
    if "Protobuf parsing failed" in message or "No graph was found" in message:
        return _explain_incomplete(path)
    if "xternal data" in message or "External initializer" in message:
        return (
            f"{path}: found an external weights file that cannot be read ({message}), expected it in the folder of "
            "the model: put it there, or save the model as one file"
        )
    return (
        f"{path}: found a model that ONNX Runtime cannot load ({message}), expected a valid one: check the model{forms}"
    )


def _message(error: Exception) -> str:
    """ONNX Runtime's message without its code, ``[ONNXRuntimeError] : 1 : FAIL :``."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", one_line(error))[:_LONGEST_MESSAGE]
