"""Loading the images of many records one by one; those that cannot be read are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxplain.contract.expected import Flag, refuse
from onnxplain.data.problem import Problem, ProblemError
from onnxplain.data.record import Record, check_record, check_records
from onnxplain.errors import ImageError
from onnxplain.runtime.image import load_image


def load_images(
    records: Sequence[Record], problems: list[Problem], *, strict: bool = False
) -> Iterator[tuple[Record, npt.NDArray[np.uint8]]]:
    """Yield each record with its pixels, uint8 (H, W, 3) RGB; an image that cannot be read becomes one of `problems`.

    Opening a data set reads only the headers of its images; damage after the header is found here. `strict`: raise
    ProblemError for the first image that cannot be read.
    """
    # Not by `checked`, which would ask for every record first: drawing one can take a while.
    check_records(records)
    Flag().check("strict", strict)
    if not isinstance(problems, list):
        refuse("problems", problems, "a list, to which problems are added")
    for index in range(len(records)):
        try:
            record = records[index]
            check_record(record)
            image_hwc = load_pixels(record)
        except ProblemError as error:
            if strict:
                raise
            problems.append(error.problem)
        else:
            yield record, image_hwc


def load_pixels(record: Record, read: Callable[[Path], npt.NDArray[Any]] = load_image) -> npt.NDArray[Any]:
    """The pixels of a record, as `Record.load` gives them. Raises ProblemError if they cannot be read."""
    try:
        return record.load(read)
    except ImageError as error:
        path = record.image if isinstance(record.image, Path) else Path(record.name)
        raise ProblemError(Problem(path, None, f"{error}".removeprefix(f"{path}: "))) from error
