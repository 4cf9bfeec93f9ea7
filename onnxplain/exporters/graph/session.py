"""Running ONNX graphs for the checks. This is the only file of the exporters that calls ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnxplain.errors import VerificationError
from onnxplain.machine.onnx_runtime import import_onnxruntime

# Errors are raised as exceptions; without this, ONNX Runtime would also print them to standard error.
SILENT = 4


class GraphSession:
    """One CPU session on a graph in memory, without log output.

    Without `optimised` every node is computed as written. Two graphs that share nodes then round in the same way.
    """

    def __init__(self, proto: onnx.ModelProto, what: str, *, optimised: bool = True) -> None:
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._what = what
        try:
            self._session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise VerificationError(f"ONNX Runtime cannot load the {what}: {_first_line(error)}") from error

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The outputs by name; all of them if `outputs` is None."""
        names = list(outputs) if outputs is not None else [output.name for output in self._session.get_outputs()]
        try:
            values = self._session.run(names, dict(feeds))
        except Exception as error:
            raise VerificationError(f"ONNX Runtime cannot run the {self._what}: {_first_line(error)}") from error
        return dict(zip(names, map(np.asarray, values), strict=True))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
