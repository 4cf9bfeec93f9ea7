"""Ctrl-C that waits until a result is safe."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# With this many presses of Ctrl-C, nothing waits any more.
_AT_ONCE = 3


class HeldInterrupt:
    """Ctrl-C while it is held: noted, not raised. It can strike anywhere otherwise, also inside numpy."""

    def __init__(self) -> None:
        self._presses, self._taken = 0, False

    def __call__(self, _number: int = signal.SIGINT, _frame: FrameType | None = None) -> None:
        """Note a press. The third one raises KeyboardInterrupt."""
        self._presses += 1
        if self._presses >= _AT_ONCE:
            raise KeyboardInterrupt

    @property
    def waiting(self) -> bool:
        """Whether Ctrl-C was pressed and nobody has taken it."""
        return self._presses > 0 and not self._taken

    def take(self) -> bool:
        """Whether it was pressed. The caller then stops its work with the result so far."""
        self._taken = self._presses > 0
        return self._taken


@contextmanager
def hold_interrupts() -> Iterator[HeldInterrupt]:
    """Hold Ctrl-C while the context lasts. If it was pressed and not taken, KeyboardInterrupt is raised at the end.

    Contexts can be nested: the outermost one raises. Only the main thread gets Ctrl-C, so in other threads nothing is
    held; neither where a host program handles the signal itself.
    """
    current = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if isinstance(current, HeldInterrupt):
        yield current
        return
    held = HeldInterrupt()
    if current is not signal.default_int_handler:
        yield held
        return
    signal.signal(signal.SIGINT, held)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if held.waiting:
        raise KeyboardInterrupt
