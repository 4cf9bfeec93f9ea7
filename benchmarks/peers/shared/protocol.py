"""The peer's side of the protocol: one tool in its own environment; requests are lines of JSON.

    PYTHON benchmarks/peers/shared/protocol.py benchmarks/peers/NAME/worker.py
    PYTHON benchmarks/peers/shared/protocol.py benchmarks/peers/NAME/worker.py --once CASE.json OUT.npy

The first answers requests on standard input. The second is one cold run, from process start to a map in a file. The
peer's file defines the methods of its tool and ends with `serve(…)`. This module runs in the environments of other
tools, so it needs only Python and numpy. Everything that the tool prints goes to standard error.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import runpy
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

Request = dict[str, Any]
Reply = dict[str, Any]


class RefusalError(Exception):
    """The tool cannot do a case; the message, in one line, is written to its row."""


class Method(ABC):
    """One method of one tool: prepared once for a case, then run many times.

    `case` is the case as the harness sent it. "masks" and "seed" may change between runs without a new `prepare`.
    """

    evaluations: int | None = None

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case

    @abstractmethod
    def prepare(self) -> None:
        """Load the tool, the model and the input. Not timed; imports that only this method needs belong here."""

    @abstractmethod
    def run(self) -> None:
        """The timed action: from arrays in memory to a map in memory."""

    @abstractmethod
    def answer(self) -> np.ndarray:
        """The map of the last run, (h, w), or (N, h, w) for a batch. Not timed."""


class Server:
    """The prepared method between requests."""

    def __init__(self, tool: str, packages: Sequence[str], methods: Mapping[str, type[Method]]) -> None:
        self.tool, self.packages, self.methods = tool, packages, methods
        self.method: Method | None = None

    def hello(self, _request: Request) -> Reply:
        return {"tool": self.tool, "versions": {name: importlib.metadata.version(name) for name in self.packages}}

    def prepare(self, request: Request) -> Reply:
        case = request["case"]
        self.method = None
        # For the tool torch@forward the method is, for example, grad-cam@forward.
        _, at, variant = case["tool"].partition("@")
        name = case["method"] + at + variant
        if name not in self.methods:
            raise RefusalError(f"{self.tool} has no {name}")
        method = self.methods[name](case)
        method.prepare()
        self.method = method
        return {}

    def run(self, request: Request) -> Reply:
        method = self._prepared()
        method.case.update({name: request[name] for name in ("masks", "seed") if name in request})
        start = time.perf_counter()
        for _ in range(request["repeat"]):
            method.run()
        return {"seconds": (time.perf_counter() - start) / request["repeat"], "evaluations": method.evaluations}

    def answer(self, request: Request) -> Reply:
        method = self._prepared()
        np.save(request["path"], np.asarray(method.answer(), np.float32))
        return {}

    def peak(self, _request: Request) -> Reply:
        return {"peak_rss_bytes": peak_rss_bytes()}

    def _prepared(self) -> Method:
        if self.method is None:
            raise RefusalError(f"{self.tool} was asked to run before it prepared a case")
        return self.method


def serve(tool: str, packages: Sequence[str], methods: Mapping[str, type[Method]]) -> None:
    """Answer requests until "quit"; `packages`: those whose versions are in the results."""
    server = Server(tool, packages, methods)
    if "--once" in sys.argv:
        return run_once(server, *sys.argv[sys.argv.index("--once") + 1 :])
    replies = _take_standard_output()
    actions: dict[str, Callable[[Request], Reply]] = {
        name: getattr(server, name) for name in ("hello", "prepare", "run", "answer", "peak")
    }
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "quit":
            return None
        print(json.dumps(answer_request(actions, request)), file=replies, flush=True)
    return None


def answer_request(actions: Mapping[str, Callable[[Request], Reply]], request: Request) -> Reply:
    """{"ok": true, …}, or {"ok": false, "reason": one line}; the traceback of an unexpected error goes to the log."""
    try:
        return {"ok": True, **actions[request["do"]](request)}
    except RefusalError as refusal:
        return {"ok": False, "reason": str(refusal)}
    except Exception as error:
        traceback.print_exc()
        first_line = next(iter(str(error).splitlines()), "")
        return {"ok": False, "reason": f"{type(error).__name__}: {first_line}"}


def run_once(server: Server, case_path: str, answer_path: str) -> None:
    """Do one case from the start and write its map to a file."""
    server.prepare({"case": json.loads(Path(case_path).read_text(encoding="utf-8"))})
    server.run({"repeat": 1})
    server.answer({"path": answer_path})


def peak_rss_bytes() -> int:
    """The largest resident set of this process since it was started."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: its value is at least that of the parent process at the fork.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _take_standard_output() -> TextIO:
    """A stream to the former standard output; from now on, libraries print to standard error."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def main() -> None:
    peer = Path(sys.argv[1]).resolve()
    sys.modules["protocol"] = sys.modules["__main__"]
    # Not the folder of all peers: Python would import its subfolder torch as a package.
    sys.path[0:1] = [str(peer.parent), str(peer.parents[1] / "shared")]
    runpy.run_path(str(peer), run_name="__main__")


if __name__ == "__main__":
    main()
