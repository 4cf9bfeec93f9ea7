"""Commands in processes of their own, to be killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

_SIGKILLED = -signal.SIGKILL


def start(*words: object) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "onnxplain", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*words: object) -> float:
    """Run a command to its end; returns its seconds."""
    began = time.monotonic()
    process = start(*words)
    _, errors = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}: status {process.returncode}: {errors}")
    return time.monotonic() - began


def kill_after(seconds: float, *words: object) -> bool:
    """Run a command and kill it; whether it was killed before its end."""
    process = start(*words)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode == _SIGKILLED
