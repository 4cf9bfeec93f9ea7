"""A limit on the time of one model run. A loop in a graph may have any number of turns, and no file says how many.

ONNX Runtime ends a run when `RunOptions.terminate` is set, after the node that it is in. One thread per process watches
the runs and sets it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from onnxplain.errors import OnnxplainError, TimeLimitError
from onnxplain.machine.onnx_runtime import import_onnxruntime

DEFAULT_TIMEOUT = 30.0
# The captured graph that a run belongs to; 0 is the default. ONNX Runtime 1.31 looks for the entry before each run on
# bound memory, and throws and catches an exception where it is missing: 0.04 ms, a tenth of a small network.
_GRAPH_ID = {"gpu_graph_id": "0"}
_timeout = ContextVar("timeout", default=DEFAULT_TIMEOUT)
_TICK = 0.25


@contextmanager
def limit_runs(seconds: float) -> Iterator[None]:
    """The limit, in seconds per run, of models that are opened, instrumented or exported within; 0 for none."""
    token = _timeout.set(checked_timeout(seconds))
    try:
        yield
    finally:
        _timeout.reset(token)


def current_timeout() -> float:
    """The limit in seconds that holds here: 30, unless `limit_runs` says otherwise; 0 for none."""
    return _timeout.get()


def checked_timeout(seconds: Any) -> float:
    """The number of seconds. Raises OnnxplainError unless it is a finite number, 0 or more."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < threading.TIMEOUT_MAX:
        raise OnnxplainError(f"timeout: found {seconds!r:.60}, expected a number of seconds, or 0 for no limit")
    return float(seconds)


class LimitedSession:
    """An ONNX Runtime session whose runs end after `timeout` seconds (0: never) with a TimeLimitError.

    `config`: entries for the options of each run.
    """

    def __init__(self, session: Any, timeout: float, config: Mapping[str, str] | None = None) -> None:
        self._session, self.timeout = session, timeout
        self._new_options = import_onnxruntime().RunOptions
        self._config = tuple({**_GRAPH_ID, **(config or {})}.items())

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[Any]:
        """Compute the named outputs; None: all outputs."""
        outputs: list[Any] = self._limited(lambda options: self._session.run(output_names, input_feed, options))
        return outputs

    def io_binding(self) -> Any:
        """An empty binding of inputs and outputs to memory."""
        return self._session.io_binding()

    def run_with_iobinding(self, iobinding: Any) -> None:
        """Compute the bound outputs."""
        self._limited(lambda options: self._session.run_with_iobinding(iobinding, options))

    def get_inputs(self) -> list[Any]:
        """Required inputs: name, type, shape."""
        return list(self._session.get_inputs())

    def get_overridable_initializers(self) -> list[Any]:
        """Optional inputs: those with a default."""
        return list(self._session.get_overridable_initializers())

    def get_outputs(self) -> list[Any]:
        """Outputs: name, type, shape."""
        return list(self._session.get_outputs())

    def get_providers(self) -> list[str]:
        """The execution providers in use, the preferred one first."""
        return list(self._session.get_providers())

    def get_provider_graph_assignment_info(self) -> list[Any]:
        """What each provider runs: see `find_placement`."""
        return list(self._session.get_provider_graph_assignment_info())

    def get_modelmeta(self) -> Any:
        """The file's metadata."""
        return self._session.get_modelmeta()

    def _limited(self, compute: Callable[[Any], Any]) -> Any:
        """What one run computes with its options. It ends at the limit."""
        options = self._new_options()
        for key, value in self._config:
            options.add_run_config_entry(key, value)
        if not self.timeout:
            return compute(options)
        run = _Run(options, time.monotonic() + self.timeout)
        _watch.add(run)
        try:
            return compute(options)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            if not run.ended:
                raise
            raise TimeLimitError(
                f"found a run of over {self.timeout:g} s, expected less: allow more seconds (--timeout, timeout=…; "
                "0: no limit), or use a smaller model"
            ) from error
        finally:
            _watch.remove(run)


class _Run:
    """A run that ends at a time."""

    def __init__(self, options: Any, deadline: float) -> None:
        self.options, self.deadline, self.ended = options, deadline, False


class _Watch:
    """The runs in progress, and the thread that ends them. It sleeps while there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._runs: set[_Run] = set()
        self._idle = True
        self._thread: threading.Thread | None = None

    def add(self, run: _Run) -> None:
        with self._changed:
            self._runs.add(run)
            # A process that was forked has no thread of its parent's.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._end_late_runs, name="onnxplain-timeout", daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify()

    def remove(self, run: _Run) -> None:
        with self._changed:
            self._runs.discard(run)

    def _end_late_runs(self) -> None:
        with self._changed:
            while True:
                self._idle = not self._runs
                now = time.monotonic()
                for run in self._runs:
                    if run.deadline <= now:
                        run.ended = True
                        run.options.terminate = True
                due = [run.deadline - now for run in self._runs if not run.ended]
                # Looking at the runs now and then is cheaper than being woken by each.
                self._changed.wait(min(_TICK, *due) if due else None if self._idle else _TICK)


_watch = _Watch()
