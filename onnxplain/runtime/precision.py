"""Lower precision than float32, for execution providers that support it. Used only if the user asks for it."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from typing import Any, Literal, get_args

from onnxplain.errors import OnnxplainError
from onnxplain.runtime.openvino import OPENVINO

Precision = Literal["float32", "bfloat16"]
Provider = str | tuple[str, dict[str, str]]

_CPU = "CPUExecutionProvider"
_ARM64 = ("aarch64", "arm64")
# onnxruntime_session_options_config_keys.h
_ARM64_BFLOAT16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"


def apply_precision(
    precision: Precision, providers: Sequence[str], threads: int | None, session_options: Any
) -> list[Provider]:
    """The providers, with options that make them compute in `precision`. May change `session_options`.

    Two providers support ``bfloat16``: OpenVINO, on processors with AVX512-BF16 or AMX, and ONNX Runtime's own CPU
    provider, for matrix products on ARM64. The types of inputs and outputs do not change. By default OpenVINO chooses
    bfloat16 where it is fast; here it computes in float32 unless asked. OpenVINO ignores the session's number of
    threads, so `threads` is one of its options too. Raises OnnxplainError for another precision, and if no provider in
    the list supports it.
    """
    if precision not in get_args(Precision):
        raise OnnxplainError(f"precision: found {precision!r}, expected {' or '.join(get_args(Precision))}")
    if precision == "bfloat16":
        if platform.machine().lower() in _ARM64 and _CPU in providers:
            session_options.add_session_config_entry(_ARM64_BFLOAT16, "1")
        elif OPENVINO not in providers:
            raise OnnxplainError(
                f"precision: found bfloat16 for {', '.join(providers)} on {platform.machine()}, expected the openvino "
                "provider (pip install onnxruntime-openvino in place of onnxruntime), or cpu on an ARM64 processor: "
                "use float32"
            )
    openvino: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}
    if threads is not None:
        openvino["INFERENCE_NUM_THREADS"] = threads
    options = {"load_config": json.dumps({"CPU": openvino})}
    return [(name, options) if name == OPENVINO else name for name in providers]
