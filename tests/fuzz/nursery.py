"""A process that has imported everything and runs each command in a fork of itself, with limits: 50 ms a case.

``python -m tests.fuzz.nursery`` reads one JSON object per line and answers with one. `Nursery` talks to it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from onnxplain.cli.main import QUIET
from onnxplain.machine.onnx_runtime import import_onnxruntime

GIGABYTE = 2**30
# What a command may reserve, in addresses; a quarter of it is taken by libraries before the command begins.
MEMORY = 6 * GIGABYTE
CPU_SECONDS = 60
WALL_SECONDS = 120
STDOUT, STDERR = "stdout.txt", "stderr.txt"
HEAVY = (
    "onnxplain.cli.explain",
    "onnxplain.cli.evaluate",
    "onnxplain.cli.instrument",
    "onnxplain.cli.inspect",
    "onnxplain.cli.predict",
    "onnxplain.explainers",
    "onnxplain.exporters",
)


@dataclass(frozen=True)
class Ending:
    """How a process ended: its exit status, or the signal; processor seconds; bytes of memory; what it printed."""

    status: int | None
    signal: int | None
    seconds: float
    memory: int
    hung: bool = False
    stdout: str = ""
    stderr: str = ""


class Nursery:
    """Commands in forks of one process. Use it with ``with``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Nursery:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "ORT_DISABLE_TELEMETRY": "1",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "NO_COLOR": "1",
            **QUIET,
        }
        environment.pop("ONNXPLAIN_DEBUG", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.nursery"],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()

    def run(self, words: Sequence[str], folder: Path) -> Ending:
        """Run a command of onnxplain in a folder."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        order = {"words": list(words), "folder": str(folder), "prints": str(self.folder)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        ending: dict[str, Any] = json.loads(self._process.stdout.readline())
        ending["stdout"], ending["stderr"] = (
            (self.folder / name).read_text(encoding="utf-8", errors="surrogateescape") for name in (STDOUT, STDERR)
        )
        return Ending(**ending)


def main() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    import_onnxruntime()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(order)
        print(json.dumps(asdict(_wait_for(child))), flush=True)


def _become(order: dict[str, Any]) -> None:
    """Run the command; never returns."""
    from onnxplain.cli.main import cli

    try:
        os.chdir(order["folder"])
        # Temporary files that a command leaves are found there.
        tempfile.tempdir = str(Path(order["folder"]) / "tmp")
        for number, name in ((1, STDOUT), (2, STDERR)):
            os.dup2(os.open(Path(order["prints"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        cli(order["words"], prog_name="onnxplain")
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 70
    else:
        status = 0
    # What a process does at its end, too: the files of a finished run, temporary folders.
    with contextlib.suppress(BaseException):
        import weakref

        weakref.finalize._exitfunc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _wait_for(child: int) -> Ending:
    deadline = time.monotonic() + WALL_SECONDS
    hung = False
    pause = 0.001
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() > deadline and not hung:
            hung = True
            os.kill(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    return Ending(
        os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        ended_by,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
        hung,
    )


if __name__ == "__main__":
    main()
