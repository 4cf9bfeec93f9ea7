"""Opening a data set: one function for every format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

from onnxplain.contract.arguments import checked
from onnxplain.data.bounds import bounded
from onnxplain.data.dataset import DataSet
from onnxplain.data.digits.scenes import DIGIT_LABELS, DigitScenes
from onnxplain.data.formats.annotations import Reading
from onnxplain.data.formats.image_lookup import ImageLookup, data_set_folders
from onnxplain.data.formats.masks import files_of_names
from onnxplain.data.formats.parts import Part, part_folders, part_of
from onnxplain.data.formats.table import FORMATS
from onnxplain.data.formats.voc import read_voc
from onnxplain.data.problem import ProblemError
from onnxplain.data.records import build_records
from onnxplain.data.splits import split as split_by_shares
from onnxplain.errors import OnnxplainError

DIGITS = "digits"
DIGITS_COUNT = 1_000
SHARES = (0.8, 0.2)
"""Shares of train and test, for a data set without parts of its own."""


@checked
def open_dataset(
    source: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    format: str | None = None,
    split: Part | Literal["all"] | None = None,
    labels: Sequence[str] | None = None,
    voc_origin: Literal[0, 1] = 1,
    seed: int = 0,
    count: int | None = None,
    strict: bool = False,
    allow_outside: bool = False,
) -> DataSet:
    """Open a data set of any format in `FORMATS`, or the generated ``"digits"`` (a folder of that name: ``./digits``).

    `images`: the folder of the images; by default they are beside the annotation file, or in `images` beside it.
    `format`: a key of FORMATS; by default it is recognised. `split`: one part of the data set. If the data set has no
    parts of its own (folders called train, val, test), ``train`` and ``test`` are the sides of
    ``split(dataset, SHARES, seed)``. `labels`: the classes and their order, instead of those the data set states.
    `voc_origin`: 0 for VOC files whose tool counted pixels from 0. `count`: the number of digit images, drawn with
    `seed`; for digits, ``split`` is the split of the scenes, ``test`` by default.

    Annotations and the headers of all images are read now, the pixels when a record is loaded (`load_images` skips
    images that then turn out to be damaged). Images outside of the data set (or of `images`), and annotation files that
    are links out of it, are refused unless `allow_outside`. What cannot be used is left out and listed in `problems`;
    with `strict`, the first raises OnnxplainError. Also raises it for an unknown or ambiguous format, and if nothing is
    usable.
    """
    if source == DIGITS:
        if (images, format, labels, voc_origin) != (None, None, None, 1) or split == "all":
            raise OnnxplainError("digits: found images, format, labels, voc_origin or split='all', expected none")
        scenes = DigitScenes(split or "test", DIGITS_COUNT if count is None else count, seed=seed)
        return DataSet(f"{DIGITS} ({scenes.split})", DIGIT_LABELS, scenes)
    if count is not None:
        raise OnnxplainError(f"{source}: found count={count}, expected it only for {DIGITS!r}")
    path = Path(source)
    folder = None if images is None else _existing(Path(images))
    folders = data_set_folders(_existing(path))
    lookup = ImageLookup(folder, None if allow_outside else folders if folder is None else [folder.resolve()])
    with nullcontext() if allow_outside else bounded([*folders, *files_of_names(path)]):
        whole = _read(path, format, voc_origin)
    # From all parts, so that a class has the same id in every part.
    stated = whole.labels or tuple(sorted({each.label for image in whole.images for each in image.objects}))
    known = stated if labels is None else tuple(labels)
    reading = _of_part(whole, path, split)
    records, found = build_records(reading.images, known, lookup)
    problems = reading.problems + found
    if strict and problems:
        raise ProblemError(problems[0])
    dataset = DataSet(path.stem if path.is_file() else path.absolute().name, known, records, problems)
    if split in (None, "all") or any(image.part for image in reading.images):
        return dataset
    side = split_by_shares(dataset, SHARES, seed)[split == "test"]
    return replace(side, problems=problems)


def recognise_format(source: Path) -> str:
    """The one format of FORMATS that a path looks like. Raises OnnxplainError if there is none, or several."""
    fitting, failed = _fitting(source, FORMATS)
    if len(fitting) == 1:
        return fitting[0]
    found = " and ".join(fitting) or "no known data set"
    known = "; ".join(f"{name}: {each.description}" for name, each in FORMATS.items())
    without = "".join(f". Not asked: {line}" for line in (*failed, *map(str, FORMATS.broken)))
    raise OnnxplainError(
        f"{source}: found {found}, expected one of these: {known}. Name the format (format=…){without}"
    )


def _fitting(source: Path, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The formats that a path looks like, and one line for each plug-in whose `recognises` raised an error."""
    fitting, failed = [], []
    for name in names:
        try:
            if FORMATS[name].recognises(source):
                fitting.append(name)
        except Exception as error:  # an error in a plug-in must not stop the formats of this package
            if name in FORMATS.own:
                raise
            failed.append(f"{name}: recognises raised {type(error).__name__} ({error})")
    return fitting, failed


def _existing(path: Path) -> Path:
    if not path.exists():
        raise OnnxplainError(f"{path}: found no such file or folder: check the path")
    return path


def _read(path: Path, format: str | None, voc_origin: int) -> Reading:
    """The whole data set; if it is a folder of parts, all of them, one after the other."""
    if format is not None:
        FORMATS.check(format)
        if format not in FORMATS:
            raise OnnxplainError(f"format {format!r}: expected one of {', '.join(FORMATS)}")
    parts = part_folders(path)
    if not parts or any(_fitting(path, FORMATS if format is None else [format])[0]):
        return _read_one(path, format or recognise_format(path), voc_origin)
    readings = []
    for folder, part in parts.items():
        reading = _read_one(folder, format or recognise_format(folder), voc_origin)
        readings.append(replace(reading, images=tuple(replace(image, part=part) for image in reading.images)))
    stated = [label for reading in readings for label in reading.labels or ()]
    return Reading(
        images=tuple(image for reading in readings for image in reading.images),
        labels=tuple(dict.fromkeys(stated)) if all(reading.labels for reading in readings) else None,
        problems=tuple(problem for reading in readings for problem in reading.problems),
    )


def _read_one(path: Path, format: str, voc_origin: int) -> Reading:
    if voc_origin not in (0, 1) or (voc_origin == 0 and format != "voc"):
        raise OnnxplainError(
            f"{path}: found voc_origin={voc_origin} for format {format}, expected 0 or 1, and only for voc"
        )
    return read_voc(path, voc_origin) if format == "voc" else FORMATS[format].read(path)


def _of_part(reading: Reading, path: Path, split: str | None) -> Reading:
    """The images and problems of one part; all of them if the data set has no parts."""
    parts = {image.part for image in reading.images if image.part}
    if split in (None, "all") or not parts:
        if split not in (None, "all", "train", "test"):
            raise OnnxplainError(f"{path}: found no part {split!r}, expected train or test (a seeded split), or all")
        return reading
    if split not in parts:
        raise OnnxplainError(f"{path}: found the parts {', '.join(sorted(parts))}, expected {split!r} among them")
    folder = path.parent if path.is_file() else path
    return replace(
        reading,
        images=tuple(image for image in reading.images if image.part == split),
        problems=tuple(each for each in reading.problems if part_of(each.path.relative_to(folder)) in ("", split)),
    )
