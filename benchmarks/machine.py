"""The machine and the code version of a run."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.client import ROOT


def describe_machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, system, Python, GPU (None if there is none)."""
    return {
        "cpu": cpu_name(),
        "cores": count_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "os": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "gpu": gpu_name(),
    }


def count_cores() -> int:
    """The number of cores that this process may use; containers can limit it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_name() -> str | None:
    """The name of the first CUDA device; None if there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    found = _output([tool, "--query-gpu=name", "--format=csv,noheader"])
    return found.splitlines()[0] if found else None


def commit() -> str:
    """The short hash of the checkout, with a `+` if it has changes; "unknown" outside of git."""
    short = _output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
    changed = _output(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return f"{short}{'+' if changed else ''}" if short else "unknown"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
