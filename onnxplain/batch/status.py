"""How far the batch in a folder is, as another process sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnxplain.batch.folder import BatchFolder
from onnxplain.batch.progress import Moment
from onnxplain.batch.schema import part_name, read_failures
from onnxplain.batch.stores.output import OutputPlace
from onnxplain.errors import OnnxplainError

# The speed is that of the parts written last.
_LAST_PARTS = 20


@dataclass(frozen=True)
class BatchStatus:
    """A batch: how far it is, whether its end is marked, and whether a process is writing (None: cannot be told)."""

    moment: Moment
    finished: bool
    running: bool | None

    @property
    def state(self) -> str:
        """``finished``, ``running``, ``stopped``, or ``not finished`` where locks do not tell."""
        if self.finished:
            return "finished"
        return {True: "running", False: "stopped", None: "not finished"}[self.running]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"state": self.state, **self.moment.as_json()}


def read_status(place: OutputPlace) -> BatchStatus:
    """The status of the batch in a folder. Nothing is changed. Raises OnnxplainError for a folder without a batch."""
    folder = BatchFolder(place)
    record = folder.read_record()
    if record is None:
        raise OnnxplainError(
            f"{place.title}: found no batch, expected the folder of `onnxplain batch -o`: check the path"
        )
    plan, times = record["plan"], folder.part_times()
    footers = folder.finished_parts(record["identity"], plan["parts"])
    images = sum(footer.images for footer in footers.values())
    running = place.is_locked()
    rate = _rate({times[part]: footers[part].images for part in footers if part in times}) if running else None
    moment = Moment(
        plan["images"],
        images,
        sum(footer.failed for footer in footers.values()),
        plan["parts"],
        len(footers),
        rate,
        None if not rate else (plan["images"] - images) / rate,
    )
    return BatchStatus(moment, folder.is_finished, running)


@dataclass(frozen=True)
class Failure:
    """The first image that failed: its name, why, and the part that has its row."""

    image: str
    error: str
    part: str


def first_failure(place: OutputPlace) -> Failure | None:
    """That of the batch in a folder; None if no image failed so far."""
    folder = BatchFolder(place)
    record = folder.read_record()
    footers = {} if record is None else folder.finished_parts(record["identity"], record["plan"]["parts"])
    for number, footer in sorted(footers.items()):
        for image, error in read_failures(place, number) if footer.failed else ():
            return Failure(image, error, part_name(number))
    return None


def _rate(images_by_time: dict[float, int]) -> float | None:
    """Images per second between the writing of the first and the last of the newest parts."""
    newest = sorted(images_by_time)[-_LAST_PARTS:]
    if len(newest) < 2:
        return None
    seconds = newest[-1] - newest[0]
    return sum(images_by_time[time] for time in newest[1:]) / seconds if seconds > 0 else None
