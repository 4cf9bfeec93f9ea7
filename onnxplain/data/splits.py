"""Splitting a data set by image: by shares or by lists of names; and writing such lists."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxplain.contract.arguments import checked
from onnxplain.contract.expected import refuse
from onnxplain.data.dataset import DataSet, image_key
from onnxplain.data.formats.annotation_text import numbered_lines, read_text
from onnxplain.data.problem import Place, Problem
from onnxplain.data.record import Record, check_record, check_records
from onnxplain.data.subset import Subset
from onnxplain.errors import OnnxplainError
from onnxplain.files.atomic import write_atomically


@checked
def split(dataset: DataSet, shares: Sequence[float] = (0.8, 0.2), seed: int = 0) -> tuple[DataSet, ...]:
    """Divide a data set at random into sides that share no image; each side gets its share of every class.

    All records of an image go to one side; an image of several classes counts for the first class by name, and images
    without a label count as a class of their own. The size of a side differs from its share by about one image, in
    total and within each class. The same images, shares and seed give the same sides, in any order of the annotations.
    Raises OnnxplainError for shares that are not positive or do not sum to 1, and if a side is empty.
    """
    if seed < 0 or len(shares) < 2 or min(shares) <= 0 or not math.isclose(sum(shares), 1):
        raise OnnxplainError(
            f"split: found shares {tuple(shares)}, seed {seed}, expected positive shares that sum to 1, seed at least 0"
        )
    images: dict[object, tuple[str, str, list[int]]] = {}
    for index, record in enumerate(dataset.records):
        label, name, indices = images.get(image_key(record), (record.label, record.name, []))
        images[image_key(record)] = min(label, record.label), min(name, record.name), [*indices, index]
    rng = np.random.default_rng(seed)
    strata: dict[str, list[list[int]]] = {label: [] for label in dataset.labels}
    for label, _, indices in sorted(images.values()):
        strata.setdefault(label, []).append(indices)
    sides: list[list[int]] = [[] for _ in shares]
    counts = np.zeros(len(shares))
    for position in rng.permutation(len(strata)):
        stratum = list(strata.values())[position]
        for place in rng.permutation(len(stratum)):
            # The side that is farthest behind its share takes the next image.
            side = int(np.argmax(np.array(shares) * (counts.sum() + 1) - counts))
            counts[side] += 1
            sides[side] += stratum[place]
    if not counts.all():
        raise OnnxplainError(f"split: found {len(images)} images, expected at least one per share of {tuple(shares)}")
    return tuple(_side(dataset, indices, f"{share:.0%}") for indices, share in zip(sides, shares, strict=True))


@checked
def split_by_lists(
    dataset: DataSet, lists: Sequence[str | os.PathLike[str]], *, strict: bool = False
) -> tuple[DataSet, ...]:
    """Divide a data set by lists: each list is a text file of image names, one per line.

    A name is a record's name, or the end of the image's path, with or without suffix. Images that no list names belong
    to no side. A name of no image, of several images, or of an image that is already listed becomes a problem of that
    side; with `strict` the first raises OnnxplainError. An empty side always raises OnnxplainError.
    """
    spelled = _spell(dataset.records)
    records: dict[Path | str, list[int]] = {}
    for index, record in enumerate(dataset.records):
        records.setdefault(image_key(record), []).append(index)
    taken: dict[Path | str, Place] = {}
    sides = []
    for path in map(Path, lists):
        indices: list[int] = []
        problems: list[Problem] = []
        for number, name in numbered_lines(read_text(path)):
            place, keys = Place(path, number), spelled.get(name, set())
            first = next((taken[key] for key in keys if key in taken), None)
            if len(keys) != 1:
                problems.append(place.problem(f"found {name!r}, the name of {len(keys)} images, expected 1"))
            elif first is not None:
                problems.append(place.problem(f"found {name!r}, which {first.path}:{first.line} already lists"))
            else:
                (key,) = keys
                taken[key] = place
                indices += records[key]
        if strict and problems:
            raise OnnxplainError(f"{problems[0]}")
        if not indices:
            raise OnnxplainError(f"{path}: found no image of {dataset.name}, expected at least one")
        sides.append(replace(_side(dataset, indices, path.stem), problems=tuple(problems)))
    return tuple(sides)


@checked
def write_lists(whole: DataSet, sides: Mapping[str, Sequence[Record]], folder: str | os.PathLike[str]) -> list[Path]:
    """Write the sides of `whole` as lists for `split_by_lists`: ``<side>.txt`` names the images of each side.

    The name of an image is the shortest end of its path, with suffix, that is no other image's name in `whole`. Raises
    OnnxplainError if the folder cannot be written, and for images that are not in `whole`.
    """
    for side, records in sides.items():
        if not isinstance(side, str) or side != Path(side).name or "\0" in side:
            refuse("sides", side, "the name of a file")
        check_records(records)
    spelled = _spell(whole.records)
    paths = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for side, records in sides.items():
            names = [_unique_name(key, spelled) for key in dict.fromkeys(map(_checked_key, records))]
            path = Path(folder) / f"{side}.txt"
            write_atomically(path, "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"))
            paths.append(path)
    except OSError as error:
        raise OnnxplainError(f"{folder}: cannot be written ({error.strerror}): choose a writable folder") from error
    return paths


def _spell(records: Sequence[Record]) -> dict[str, set[Path | str]]:
    """All names of the images (records' names and ends of paths), each with the images that it may mean."""
    spelled: dict[str, set[Path | str]] = {}
    for record in records:
        key = image_key(record)
        for name in {record.name, *(_endings(key) if isinstance(key, Path) else ())}:
            spelled.setdefault(name, set()).add(key)
    return spelled


def _checked_key(record: Record) -> Path | str:
    check_record(record)
    return image_key(record)


def _unique_name(key: Path | str, spelled: Mapping[str, set[Path | str]]) -> str:
    names = _endings(key)[-2::-2] if isinstance(key, Path) else [key]
    for name in names:
        if spelled.get(name) == {key}:
            return name
    raise OnnxplainError(f"{key}: found no name that only this image has, expected one")


def _side(dataset: DataSet, indices: Sequence[int], name: str) -> DataSet:
    return replace(dataset, name=f"{dataset.name} ({name})", records=Subset(dataset.records, sorted(indices)))


def _endings(path: Path) -> list[str]:
    """The ends of a path, the longest first; each with and without suffix."""
    ends = [Path(*path.parts[start:]) for start in range(len(path.parts))]
    return [spelling for end in ends for spelling in (end.as_posix(), end.with_suffix("").as_posix())]
