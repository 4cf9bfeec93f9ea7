"""A raw ONNX Runtime session with the options that all tools share."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def open_session(path: str | Path, threads: int, provider: str = "cpu") -> ort.InferenceSession:
    """A session with this number of threads. Waiting threads sleep, so they do not slow other processes."""
    session = ort.InferenceSession(str(path), quiet_options(threads), providers=[PROVIDERS[provider]])
    if session.get_providers()[0] != PROVIDERS[provider]:
        raise RuntimeError(f"ONNX Runtime has no {provider} here and fell back to {session.get_providers()[0]}")
    return session


def quiet_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
