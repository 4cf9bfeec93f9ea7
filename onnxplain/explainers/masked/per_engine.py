"""What is found out once for an engine and kept as long as the engine lives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from onnxplain.runtime.engine import Engine

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class PerEngine(Generic[Key, Value]):
    """One value per engine and key, dropped with the engine; a value must not hold the engine itself.

    For what is a property of the engine's session and changes no result, such as where copies are made fastest.
    Threads may share it: while one finds a value, the others wait for it.
    """

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[Engine, dict[Key, Value]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self, engine: Engine, key: Key, find: Callable[[], Value]) -> Value:
        """The value of that key; `find` is called where there is none yet."""
        with self._lock:
            values = self._found.setdefault(engine, {})
            if key not in values:
                values[key] = find()
            return values[key]
