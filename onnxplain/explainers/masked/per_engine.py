"""Values that are computed once per engine and kept as long as the engine exists."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from onnxplain.runtime.engine import Engine

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class PerEngine(Generic[Key, Value]):
    """One value per engine and key, deleted together with the engine. A value must not refer to the engine.

    Use it for properties of the engine's session that change no result, such as the fastest way to make copies.
    Threads may share it: while one thread computes a value, the others wait for it.
    """

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[Engine, dict[Key, Value]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self, engine: Engine, key: Key, find: Callable[[], Value]) -> Value:
        """The value of that key. `find` computes it the first time."""
        with self._lock:
            values = self._found.setdefault(engine, {})
            if key not in values:
                values[key] = find()
            return values[key]
