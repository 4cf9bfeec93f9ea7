"""The id of each record in result files and heatmap folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

from onnxplain.data.digits.scenes import DigitScenes
from onnxplain.data.mosaic import Mosaics
from onnxplain.data.record import Record
from onnxplain.data.subset import Subset


def drawn_when_asked(records: Sequence[Record]) -> bool:
    """Whether the records are generated: then access to one draws it, and its name is unique."""
    base = records.base if isinstance(records, Subset) else records
    return isinstance(base, Mosaics | DigitScenes) or (isinstance(base, Subset) and drawn_when_asked(base))


class ImageIds:
    """The ids of a data set's records: the record's name if it is unique, else the image's path relative to the common
    folder of all images, followed by ``#label`` if the image shows several classes. Generated records: their name."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._ids: dict[tuple[object, str], str] = {}
        self._folder: Path | None = None
        if drawn_when_asked(records):
            return
        names = Counter(record.name for record in records)
        paths = {record.image for record in records if isinstance(record.image, Path)}
        self._folder = Path(os.path.commonpath([path.absolute().parent for path in paths])) if paths else None
        classes = Counter(record.image for record in records if isinstance(record.image, Path))
        for record in records:
            if names[record.name] > 1 and isinstance(record.image, Path):
                several = f"#{record.label}" if classes[record.image] > 1 else ""
                self._ids[record.image, record.label] = self._inside(record.image).as_posix() + several

    def of(self, record: Record) -> str:
        """The id of a record."""
        key = (record.image if isinstance(record.image, Path) else None, record.label)
        return self._ids.get(key, record.name)

    def spellings(self, record: Record) -> list[str]:
        """Names that a folder of heatmaps may use for a record: the id, then the ends of the image's path, with and
        without suffix, the longest first. No end is shorter than the path relative to the common folder."""
        spellings = [self.of(record)]
        if isinstance(record.image, Path):
            path, inside = record.image.absolute(), self._inside(record.image)
            for start in range(1, len(path.parts) - len(inside.parts) + 1):
                end = PurePath(*path.parts[start:])
                spellings += [end.as_posix(), end.with_suffix("").as_posix()]
        return list(dict.fromkeys(spellings))

    def _inside(self, path: Path) -> PurePath:
        return path.absolute().relative_to(self._folder) if self._folder is not None else path
