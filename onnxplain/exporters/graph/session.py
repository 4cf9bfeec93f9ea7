"""Running ONNX graphs for the checks. This is the only file of the exporters that calls ONNX Runtime."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from onnxplain.errors import TimeLimitError, VerificationError
from onnxplain.machine.onnx_runtime import import_onnxruntime
from onnxplain.machine.time_limit import LimitedSession, current_timeout

# Errors are raised as exceptions; without this, ONNX Runtime would also print them to standard error.
SILENT = 4
FLOAT_ACCURACY = "1"
# ONNX Runtime repeats names from the file, which may be of any length.
_LONGEST_MESSAGE = 600


class GraphSession:
    """One CPU session on a graph in memory, without log output.

    Without `optimised` every node is computed as written. Two graphs that share nodes then round in the same way.
    `memory_limit`: the bytes that loading and a run may take; a run that needs more fails. The first limit of a process
    is valid for all later sessions that have one.
    """

    def __init__(
        self, proto: onnx.ModelProto, what: str, *, optimised: bool = True, memory_limit: int | None = None
    ) -> None:
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = SILENT
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Products with 4-bit weights would round their activations to 8 bits where they are fused, and not where a
        # branch reads the weights too.
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", FLOAT_ACCURACY)
        if not optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._what = what
        config = {}
        if memory_limit is not None:
            _limit_memory(memory_limit)
            options.add_session_config_entry("session.use_env_allocators", "1")
            # The allocator outlives the session.
            config["memory.enable_memory_arena_shrinkage"] = "cpu:0"
        try:
            loaded = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise VerificationError(f"ONNX Runtime cannot load the {what}: {_first_line(error)}") from error
        self._session = LimitedSession(loaded, current_timeout(), config)

    def types(self) -> dict[str, str]:
        """The element type of each output that is a tensor, by name: ``float``, ``int64``."""
        found = {each.name: each.type for each in self._session.get_outputs()}
        return {name: kind[len("tensor(") : -1] for name, kind in found.items() if kind.startswith("tensor(")}

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The outputs by name; all of them if `outputs` is None."""
        names = list(outputs) if outputs is not None else [output.name for output in self._session.get_outputs()]
        try:
            values = self._session.run(names, dict(feeds))
        except TimeLimitError as error:
            raise TimeLimitError(f"{self._what}: {error}") from error
        except Exception as error:
            raise VerificationError(f"ONNX Runtime cannot run the {self._what}: {_first_line(error)}") from error
        return dict(zip(names, map(np.asarray, values), strict=True))


@functools.cache
def _limit_memory(limit: int) -> None:
    """Register the allocator, one per process, that sessions with a memory limit share."""
    ort = import_onnxruntime()
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    exactly_as_asked = 1
    arena = ort.OrtArenaCfg({"max_mem": limit, "arena_extend_strategy": exactly_as_asked})
    ort.create_and_register_allocator(memory, arena)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST_MESSAGE]
