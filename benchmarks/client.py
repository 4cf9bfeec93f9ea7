"""The harness's side of the protocol: one worker process that answers one request at a time."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
PROTOCOL = FOLDER / "peers" / "shared" / "protocol.py"
# A worker that does not answer within this time is stopped.
PATIENCE_SECONDS = 900
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


class WorkerError(Exception):
    """A worker gave no answer; the message is the reason, in one line."""


class Client:
    """A tool in a process of its own; `with` ends the process.

    `log` receives what the tool prints. Every call raises WorkerError if the tool refuses, fails, ends, or does not
    answer within `patience` seconds.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        log: Path,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.patience = patience
        # Forward passes of the last call, if the tool counts them.
        self.evaluations: int | None = None
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=dict(environment),
                text=True,
                encoding="utf-8",
            )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def hello(self) -> dict[str, str]:
        """The versions of the tool's packages."""
        versions: dict[str, str] = self.ask("hello")["versions"]
        return versions

    def prepare(self, case: Mapping[str, Any]) -> None:
        self.ask("prepare", case=case)

    def run(self, repeat: int = 1, **changes: int) -> float:
        """Seconds of one call, the mean of `repeat` calls; `changes` sets masks and seed for this and later calls."""
        reply = self.ask("run", repeat=repeat, **changes)
        self.evaluations = reply["evaluations"]
        return float(reply["seconds"])

    def answer(self, path: Path) -> np.ndarray:
        """The map of the last run, float32 (h, w) or (N, h, w); the worker writes it to `path`."""
        self.ask("answer", path=str(path))
        answer: np.ndarray = np.load(path)
        return answer

    def peak(self) -> int:
        """The largest resident set of the process, in bytes."""
        peak_rss_bytes: int = self.ask("peak")["peak_rss_bytes"]
        return peak_rss_bytes

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send one request and wait for its reply."""
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=self.patience)
        except queue.Empty:
            self.close()
            raise WorkerError(f"no answer within {self.patience:g} s") from None
        except (OSError, ValueError):  # one end of the pipe is closed
            line = ""
        if not line:
            raise WorkerError(self._describe_death())
        reply: dict[str, Any] = json.loads(line)
        if not reply["ok"]:
            raise WorkerError(reply["reason"])
        return reply

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # The process did not read its last request.
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        # The stream may be closed during reading.
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def _describe_death(self) -> str:
        status = self._process.wait()
        lines = [line.strip() for line in self._log.read_text("utf-8", "replace").splitlines() if line.strip()]
        cause = f"signal {-status}" if status < 0 else f"status {status}"
        return f"the process ended with {cause}" + (f": {lines[-1]}" if lines else "")


def worker_command(python: Path, peer: Path, *arguments: str | Path) -> list[str | Path]:
    """The command that starts a peer's worker file."""
    return [python, PROTOCOL, peer, *arguments]


def worker_environment(threads: int, own: bool) -> dict[str, str]:
    """The environment variables of a worker: every thread pool has the same size, and waiting threads sleep.

    `own`: the tool is onnxplain, imported from this checkout; other tools must not see the checkout.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {name: str(threads) for name in THREAD_VARIABLES}
    environment |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "TF_NUM_INTEROP_THREADS": "1"}
    environment |= {"CUDA_MODULE_LOADING": "LAZY", "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment["PYTHONPATH"] = str(ROOT if own else FOLDER / "peers" / "shared")
    return environment
