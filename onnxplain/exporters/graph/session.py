"""Running ONNX graphs while they are verified: the only file of the exporters that calls ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnxplain.errors import OnnxplainError, VerificationError

# Errors arrive as exceptions; ONNX Runtime would print them to standard error as well.
SILENT = 4
FLOAT_ACCURACY = "1"


class GraphSession:
    """One CPU session on a graph in memory, plain and quiet.

    Without `optimised` every node is computed as it stands: two graphs that share nodes then round alike.
    """

    def __init__(self, proto: onnx.ModelProto, what: str, *, optimised: bool = True) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise OnnxplainError(
                'onnxruntime is not installed, expected it to verify the graph: pip install "onnxplain[cpu]" or "[gpu]"'
            ) from error
        options = ort.SessionOptions()
        options.log_severity_level = SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Products with 4-bit weights would round their activations to 8 bits where they are fused, and not where a
        # branch reads the weights too.
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", FLOAT_ACCURACY)
        if not optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._what = what
        try:
            self._session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise VerificationError(f"ONNX Runtime cannot load the {what}: {_first_line(error)}") from error

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Outputs by name; all of them where none are named."""
        names = list(outputs) if outputs is not None else [output.name for output in self._session.get_outputs()]
        try:
            values = self._session.run(names, dict(feeds))
        except Exception as error:
            raise VerificationError(f"ONNX Runtime cannot run the {self._what}: {_first_line(error)}") from error
        return dict(zip(names, map(np.asarray, values), strict=True))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
