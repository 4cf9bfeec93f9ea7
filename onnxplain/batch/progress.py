"""How far a batch is: images per second, failures, time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from onnxplain.batch.folder import BatchCounts
from onnxplain.batch.job import BatchEvent, PartDone, PartLost, PartProgress


@dataclass(frozen=True)
class Moment:
    """A moment of a batch. `images_per_second` and `seconds_left`: None while nothing is known."""

    images: int
    images_done: int
    failed: int
    parts: int
    parts_done: int
    images_per_second: float | None = None
    seconds_left: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def summary(self) -> str:
        """A few words: ``120 of 1000 images, 2 failed, 31.5 images/s, 28 s left``."""
        words = [f"{self.images_done} of {self.images} images", f"{self.failed} failed"]
        if self.images_per_second is not None:
            words.append(f"{self.images_per_second:.1f} images/s")
        if self.seconds_left is not None:
            words.append(f"{_duration(self.seconds_left)} left")
        return ", ".join(words)


class BatchProgress:
    """Adds up the events of a run. `already`: what an earlier run left."""

    def __init__(
        self, images: int, parts: int, already: BatchCounts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._images, self._parts, self._already, self._counts = images, parts, already, already
        self._clock, self._began = clock, clock()
        self._open: dict[int, PartProgress] = {}

    def add(self, event: BatchEvent) -> None:
        """Take note of an event. Images of a part that was lost are not done."""
        if isinstance(event, PartProgress):
            self._open[event.part] = event
            return
        self._open.pop(event.part, None)
        if isinstance(event, PartDone):
            counts = self._counts
            self._counts = BatchCounts(counts.parts + 1, counts.images + event.images, counts.failed + event.failed)
        else:
            assert isinstance(event, PartLost)

    @property
    def counts(self) -> BatchCounts:
        """Of whole parts only."""
        return self._counts

    def moment(self) -> Moment:
        """How far the batch is now, with images of parts that are not whole yet."""
        done = self._counts.images + sum(each.images for each in self._open.values())
        failed = self._counts.failed + sum(each.failed for each in self._open.values())
        seconds, here = self._clock() - self._began, done - self._already.images
        rate = here / seconds if here > 0 and seconds > 0 else None
        left = None if rate is None else (self._images - done) / rate
        return Moment(self._images, done, failed, self._parts, self._counts.parts, rate, left)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.0f} h"
