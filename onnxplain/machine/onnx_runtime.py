"""The one place that imports ONNX Runtime."""

from __future__ import annotations

import sys
from types import ModuleType

from onnxplain.errors import OnnxplainError

_LOG_FATAL_ONLY = 4


def import_onnxruntime() -> ModuleType:
    """ONNX Runtime's Python module. Raises OnnxplainError, with what to install, where it is missing."""
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
