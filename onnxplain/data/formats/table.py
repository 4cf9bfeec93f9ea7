"""The table of data set formats: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxplain.data.formats.annotations import Reading
from onnxplain.data.formats.coco import looks_like_coco, read_coco
from onnxplain.data.formats.csv_boxes import looks_like_boxes, read_csv
from onnxplain.data.formats.csv_labels import looks_like_labels, read_csv_labels
from onnxplain.data.formats.image_folder import is_image_folder, read_image_folder
from onnxplain.data.formats.masks import is_masks, read_masks
from onnxplain.data.formats.voc import is_voc, read_voc
from onnxplain.data.formats.wsol import IDS_FILE, LABELS_FILE, read_wsol
from onnxplain.data.formats.yolo import is_yolo, read_yolo
from onnxplain.errors import OnnxplainError
from onnxplain.plugins import PluginTable, load

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


_MOST_LOOKED_AT = 16
"""At most this many files are opened to recognise a single-file format: a folder of thousands has another format."""


@dataclass(frozen=True)
class Format:
    """`description`: what a path of this format is. `recognises`: whether a path looks like this format, by its names;
    by the beginning of a file if other formats use the same names. `read`: reads everything."""

    description: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], Reading]


def single_file(source: Path, suffix: str, looks_right: Callable[[Path], bool]) -> Path:
    """The file itself, or the only file with that suffix in a folder that looks right.

    A file that does not look right is taken if it is the only one, so that its reader says what is wrong. Raises
    OnnxplainError unless there is one.
    """
    named = [source] if source.is_file() else _files(source, suffix)
    files = named if len(named) == 1 else [path for path in named if looks_right(path)] or named
    if len(files) != 1:
        raise OnnxplainError(f"{source}: found {len(files)} {suffix} files, expected one: name the file")
    return files[0]


def _files(source: Path, suffix: str) -> list[Path]:
    paths = [source] if source.is_file() else sorted(source.glob("*"))
    return [path for path in paths if path.suffix.lower() == suffix]


def _file_format(
    suffix: str, description: str, looks_right: Callable[[Path], bool], read: Callable[[Path], Reading]
) -> Format:
    return Format(
        description,
        lambda source: any(looks_right(path) for path in _files(source, suffix)[:_MOST_LOOKED_AT]),
        lambda source: read(single_file(source, suffix, looks_right)),
    )


def _read_plugin(entry: EntryPoint) -> Format:
    """The row of a format from another package."""
    row = load(entry)
    if not isinstance(row, Format):
        raise OnnxplainError(f"found {row!r}, expected an onnxplain.data.Format")
    if not row.description or not callable(row.recognises) or not callable(row.read):
        raise OnnxplainError(f"found {row!r}, expected a description and two functions, recognises and read")
    return row


_OWN: dict[str, Format] = {
    "voc": Format("Pascal VOC: a folder of .xml files, or one", is_voc, read_voc),
    "coco": _file_format(
        ".json",
        "COCO: a .json file of images, annotations, categories, or a folder with one",
        looks_like_coco,
        read_coco,
    ),
    "yolo": Format(
        "YOLO: a folder with data.yaml or classes.txt, and labels/*.txt; or its data.yaml", is_yolo, read_yolo
    ),
    "csv": _file_format(
        ".csv",
        "boxes: a .csv file of file,label,xmin,ymin,xmax,ymax, or a folder with one",
        looks_like_boxes,
        read_csv,
    ),
    "csv-labels": _file_format(
        ".csv",
        "labels or numbers: a .csv file of file and label, labels or columns of numbers, or a folder with one",
        looks_like_labels,
        read_csv_labels,
    ),
    "wsol": Format(
        f"WSOL benchmark: a folder with {IDS_FILE} and {LABELS_FILE}",
        lambda source: all((source / name).is_file() for name in (IDS_FILE, LABELS_FILE)),
        read_wsol,
    ),
    "masks": Format(
        "label maps: a folder SegmentationClass or masks of .png files, beside JPEGImages or images",
        is_masks,
        read_masks,
    ),
    "image-folder": Format("class folders: a folder of images per class", is_image_folder, read_image_folder),
}

FORMATS = PluginTable("onnxplain.formats", _OWN, _read_plugin)
"""Every format by name: those of this package, and those of installed plug-ins."""
