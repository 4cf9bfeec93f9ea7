"""Work in threads beside the model's: the same results in the same order, sooner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def one_behind(finish: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """``finish(item)`` of each item in order, computed by another thread while the next item is made here.

    At most two items are in memory at once. What `finish` raises is raised here.
    """
    waiting: Future[_Result] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="onnxplain-rows") as pool:
        for item in items:
            finished, waiting = waiting, pool.submit(finish, item)
            del item
            if finished is not None:
                yield finished.result()
        if waiting is not None:
            yield waiting.result()
