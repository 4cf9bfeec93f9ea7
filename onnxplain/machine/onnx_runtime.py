"""The one place that imports ONNX Runtime."""

from __future__ import annotations

from types import ModuleType

from onnxplain.errors import OnnxplainError


def import_onnxruntime() -> ModuleType:
    """ONNX Runtime's Python module. Raises OnnxplainError, with what to install, where it is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise OnnxplainError(
            'ONNX Runtime is not installed: run pip install "onnxplain[cpu]", or "onnxplain[gpu]" for CUDA'
        ) from error
    module: ModuleType = onnxruntime
    return module
