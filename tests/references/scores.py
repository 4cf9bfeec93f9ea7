"""The scores of the network from its ONNX file, for a Python with ONNX Runtime and without torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime


def open_scores(path: str) -> Callable[[np.ndarray], np.ndarray]:
    """From images float (N, H, W, 3) to softmax scores float64 (N, C)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def scores(batch_nhwc: np.ndarray) -> np.ndarray:
        batch = np.ascontiguousarray(np.asarray(batch_nhwc).transpose(0, 3, 1, 2), np.float32)
        logits = session.run(None, {name: batch})[0].astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    return scores
