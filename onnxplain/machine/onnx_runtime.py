"""The one place that imports ONNX Runtime."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from onnxplain.errors import OnnxplainError

# ONNX Runtime reads it when it is imported. Its function disable_telemetry_events() comes too late: the device id and
# the queue of events are already written below the user's cache folder.
TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"

_LOG_FATAL_ONLY = 4


def import_onnxruntime() -> ModuleType:
    """ONNX Runtime's Python module, with its telemetry off unless the user set ORT_DISABLE_TELEMETRY.

    If another package imported ONNX Runtime before, its telemetry stays as it is. Raises OnnxplainError, with what to
    install, where ONNX Runtime is missing.
    """
    os.environ.setdefault(TELEMETRY_VARIABLE, "1")
    is_first = "onnxruntime" not in sys.modules
    try:
        import onnxruntime
    except ImportError as error:
        raise OnnxplainError(
            'ONNX Runtime is not installed: run pip install "onnxplain[cpu]", or "onnxplain[gpu]" for CUDA'
        ) from error
    module: ModuleType = onnxruntime
    if is_first:
        # Failures are raised; ONNX Runtime would also print some of them. A host program's own setting stays.
        module.set_default_logger_severity(_LOG_FATAL_ONLY)
    return module


def import_float16_converter() -> ModuleType:
    """ONNX Runtime's converter of models to float16. It needs onnx, and raises as `import_onnxruntime` does."""
    import_onnxruntime()
    path = list(sys.path)
    try:
        return importlib.import_module("onnxruntime.transformers.float16")
    finally:
        # The package puts its own folder, with modules of everyday names, on the path.
        sys.path[:] = path
