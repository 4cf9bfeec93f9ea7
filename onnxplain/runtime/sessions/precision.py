"""Lower precision than float32, for execution providers that support it. Used only if the user asks for it."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from onnxplain.errors import OnnxplainError
from onnxplain.machine.plug_ins import add_plug_ins
from onnxplain.machine.provider_choice import ProviderChoice
from onnxplain.machine.providers import CPU, OPENVINO

Precision = Literal["float32", "bfloat16"]
Configured = str | tuple[str, dict[str, str]]

_ARM64 = ("aarch64", "arm64")
# onnxruntime_session_options_config_keys.h
_ARM64_BFLOAT16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"


def apply_precision(
    precision: Precision, providers: Sequence[str], threads: int | None, session_options: Any, device: str = "CPU"
) -> list[Configured]:
    """The providers, with options that make them compute in `precision`. May change `session_options`.

    Two providers support ``bfloat16``: OpenVINO, on processors with AVX512-BF16 or AMX, and ONNX Runtime's own CPU
    provider, for matrix products on ARM64. The types of inputs and outputs do not change. By default OpenVINO chooses
    bfloat16 where it is fast; here it computes in float32 unless asked. OpenVINO ignores the session's number of
    threads, so `threads` is one of its options too. `device`: OpenVINO's. Raises OnnxplainError for another precision,
    and if no provider in the list supports it.
    """
    if precision not in get_args(Precision):
        raise OnnxplainError(f"precision: found {precision!r}, expected {' or '.join(get_args(Precision))}")
    if precision == "bfloat16":
        if platform.machine().lower() in _ARM64 and CPU in providers:
            session_options.add_session_config_entry(_ARM64_BFLOAT16, "1")
        elif OPENVINO not in providers:
            raise OnnxplainError(
                f"precision: found bfloat16 for {', '.join(providers)} on {platform.machine()}, expected the openvino "
                "provider (pip install onnxruntime-openvino in place of onnxruntime), or cpu on an ARM64 processor: "
                "use float32"
            )
    openvino: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}
    if threads is not None and device == "CPU":
        openvino["INFERENCE_NUM_THREADS"] = threads
    options = {"load_config": json.dumps({device: openvino})}
    return [(name, options) if name == OPENVINO else name for name in providers]


def configure(
    choices: Sequence[ProviderChoice], precision: Precision, threads: int | None, session_options: Any
) -> dict[str, list[Configured]]:
    """The arguments of an ``InferenceSession`` beside the file and its options. Changes `session_options`.

    Options that the user states stand above those of the precision. Raises OnnxplainError as `apply_precision` and
    `add_plug_ins` do.
    """
    names = [choice.full_name for choice in choices]
    device = next((choice.device for choice in choices if choice.full_name == OPENVINO and choice.device), "CPU")
    precise = dict(_named(entry) for entry in apply_precision(precision, names, threads, session_options, device))
    choices = [replace(choice, options={**precise[choice.full_name], **choice.options}) for choice in choices]
    for choice in choices:
        for name, value in () if choice.row is None else choice.row.session.items():
            setattr(session_options, name, value)
    if any(choice.plug_in for choice in choices):
        add_plug_ins(session_options, choices)
        return {}
    return {"providers": [choice.configured() for choice in choices]}


def forms_for(choices: Sequence[ProviderChoice]) -> str:
    """What to try if a provider refuses a file: how `instrument` writes it for that provider; empty for others."""
    rows = [choice.row for choice in choices if choice.row is not None and choice.row.forms]
    return "".join(f"; for {row.name}, write it with instrument {' '.join(row.forms)}" for row in rows)


def _named(entry: Configured) -> tuple[str, dict[str, str]]:
    return (entry, {}) if isinstance(entry, str) else entry
