"""Traits of this machine's processor that change answers or speed."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from onnxplain.machine.onnx_runtime import import_onnxruntime

# Written by tools/saturation_probe.py: y = x · w, uint8 [4, 4] times int8 [4, 4] of 127.
PROBE = Path(__file__).with_name("saturation_probe.onnx")
CPU_FLAGS_FILE = Path("/proc/cpuinfo")
# In 4 terms of 255 · 127.
EXACT_SUM = 4 * 255 * 127
_LOG_FATAL_ONLY = 4
_VNNI = ("avx512_vnni", "avx_vnni")


@dataclass(frozen=True)
class ProcessorTraits:
    """What can be told of the processor.

    `saturates`: ONNX Runtime's eight-bit kernels cut sums off at 16 bits here, see `eight_bit_saturates`. `avx2`,
    `avx512`, `vnni`: instruction sets as Linux lists them; None where they cannot be read, and on other processors than
    x86. `cores`: processors that this process may use.
    """

    machine: str
    saturates: bool
    cores: int
    avx2: bool | None = None
    avx512: bool | None = None
    vnni: bool | None = None


def processor_traits() -> ProcessorTraits:
    """The traits of this machine's processor. Raises OnnxplainError where ONNX Runtime is missing."""
    flags = read_cpu_flags()
    known = {} if flags is None else {"avx2": "avx2" in flags, "avx512": "avx512f" in flags, "vnni": has_vnni(flags)}
    return ProcessorTraits(platform.machine(), eight_bit_saturates(), count_cores(), **known)


@cache
def eight_bit_saturates() -> bool:
    """Whether ONNX Runtime's CPU provider saturates in products of uint8 and int8 on this processor.

    x86 processors with AVX2 but without VNNI add the products of two neighbours in int16, where they end at 32767. All
    others are exact. One run of a graph of one node tells, once per process. Raises OnnxplainError where ONNX Runtime
    is missing.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_FATAL_ONLY
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(PROBE.read_bytes(), options, providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"x": np.full((4, 4), 255, np.uint8)})
    return bool((sums != EXACT_SUM).any())


def read_cpu_flags(path: Path = CPU_FLAGS_FILE) -> frozenset[str] | None:
    """The instruction sets that Linux lists for an x86 processor; None where there is no such list."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((line.partition(":")[2] for line in lines if line.partition(":")[0].strip() == "flags"), None)
    return None if flags is None else frozenset(flags.split())


def has_vnni(flags: frozenset[str]) -> bool:
    """Whether the processor multiplies uint8 by int8 with sums in 32 bits."""
    return any(name in flags for name in _VNNI)


def count_cores() -> int:
    """The processors that this process may use: at most those of the machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
