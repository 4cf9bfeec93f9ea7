"""A process that ends what a local Ray leaves behind when its driver is killed.

Ray's own processes watch each other, but an agent that is still starting when the others end stays for ever.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARK = "ONNXPLAIN_RAY_DRIVER"
_PROCESSES = Path("/proc")
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from onnxplain.batch.ray_guard import guard; guard()"
# Ray's processes may end by themselves first. New ones may still be starting then.
_GRACE_SECONDS, _LOOK_SECONDS = 2.0, 8.0


@contextmanager
def guarded() -> Iterator[None]:
    """Everything that is started within the context and is still there after it, or after this process, is ended.

    Without effect where processes are not listed in ``/proc`` (macOS, Windows).
    """
    if not (_PROCESSES / "self" / "environ").exists():
        yield
        return
    mark, before = secrets.token_hex(16), os.environ.get(_MARK)
    watching = subprocess.Popen(
        [sys.executable, "-P", "-c", _START, json.dumps(sys.path), mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert watching.stdin is not None
    os.environ[_MARK] = mark
    try:
        yield
        # The context ended in order: nothing has to be waited for.
        with suppress(OSError):
            watching.stdin.write(b"done")
    finally:
        os.environ.pop(_MARK, None)
        if before is not None:
            os.environ[_MARK] = before
        with suppress(OSError):
            watching.stdin.close()
        watching.wait()


def guard() -> None:
    """Wait until the driver's end of standard input closes, then end all processes that carry its mark."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    mark = f"{_MARK}={sys.argv[2]}".encode()
    if sys.stdin.buffer.read() == b"done":
        _end_all(mark)
        return
    time.sleep(_GRACE_SECONDS)
    until = time.monotonic() + _LOOK_SECONDS
    while time.monotonic() < until:
        _end_all(mark)
        time.sleep(0.2)


def _end_all(mark: bytes) -> None:
    for path in _PROCESSES.glob("[0-9]*/environ"):
        process = int(path.parent.name)
        with suppress(OSError):
            if process != os.getpid() and mark in path.read_bytes().split(b"\0"):
                os.kill(process, signal.SIGKILL)
