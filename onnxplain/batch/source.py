"""The images that SOURCE names: a folder, a pattern, a table of paths, or a URI."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from glob import has_magic
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from onnxplain.batch.stores.storage import is_uri, list_store, open_file, without_options
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.image import IMAGE_SUFFIXES, one_line
from onnxplain.runtime.images.pixels import ARRAY_SUFFIX

TABLE_SUFFIXES = (".csv", ".parquet")
PATH_COLUMNS = ("image", "path", "file", "filename", "uri", "url")
"""Names of the column of paths in a table, the first that is there."""

_SUFFIXES = (*IMAGE_SUFFIXES, ARRAY_SUFFIX)


def list_source(source: str, column: str | None = None) -> tuple[str, ...]:
    """The images of a source, each once: absolute paths with forward slashes, or URIs.

    A folder stands for the images in it and in its subfolders, sorted by name; a pattern for the files that match it,
    sorted. A table (CSV or Parquet) keeps its order; its paths are relative to its own folder, its column is `column`,
    or one of `PATH_COLUMNS`, or the only one. A URI names a folder, an image or a table. Images are not opened. Raises
    OnnxplainError for a source without images.
    """
    is_table = without_options(source).lower().endswith(TABLE_SUFFIXES)
    if column is not None and not is_table:
        raise OnnxplainError(f"--column: found {source}, expected a table (.csv or .parquet): leave the option out")
    if is_table and (is_uri(source) or Path(source).is_file()):
        found = _read_table(source, column)
    elif is_uri(source):
        found = iter(sorted(list_store(source, _SUFFIXES)))
    elif Path(source).is_dir():
        found = iter(sorted(_walk(Path(source))))
    elif Path(source).is_file():
        found = iter([_absolute(Path(source))])
    else:
        found = iter(sorted(_match(source)))
    images = tuple(dict.fromkeys(found))
    if not images:
        raise OnnxplainError(
            f"{source}: found no image, expected at least one ({', '.join(_SUFFIXES)}): check the source"
        )
    return images


def _walk(folder: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise OnnxplainError(
            f"{error.filename}: cannot be listed ({error.strerror}), expected a folder that can be read: check its "
            "permissions"
        ) from error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(_SUFFIXES):
                yield _absolute(Path(parent, name))


def _match(pattern: str) -> Iterator[str]:
    """The files that a pattern matches. Folders are counted, not entered."""
    if not has_magic(pattern):
        raise OnnxplainError(
            f"{pattern}: found no such file or folder, expected a folder, a pattern, a table or a URI: check the path"
        )
    folders, files = 0, 0
    whole = Path(pattern)
    for path in Path(whole.anchor or ".").glob(str(whole.relative_to(whole.anchor))):
        if path.is_dir():
            folders += 1
        elif not any(part.startswith(".") and part not in whole.parts for part in path.parts):
            files += 1
            yield _absolute(path)
    if folders and not files:
        raise OnnxplainError(
            f"{pattern}: found {folders} folder{'s' * (folders != 1)} and no file, expected images: write "
            f"'{pattern.rstrip('/')}/*.jpg', or give the folder above"
        )


def _read_table(source: str, column: str | None) -> Iterator[str]:
    address = without_options(source)
    base, options = address.rpartition("/")[0], source[len(address) :]
    reader = _parquet_column if address.lower().endswith(".parquet") else _csv_column
    try:
        for row, text in enumerate(reader(source, column), start=1):
            if not text:
                raise OnnxplainError(f"{source}: found no path in row {row}, expected one: fill it in")
            if is_uri(text):
                yield text
            elif is_uri(source):
                yield f"{base}/{text}{options}"
            else:
                yield _absolute(Path(source).parent / text)
    except (OSError, pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise OnnxplainError(
            f"{source}: cannot be read ({one_line(error)}), expected a table of paths in UTF-8 CSV or in Parquet: "
            "check the file"
        ) from error


def _csv_column(source: str, column: str | None) -> Iterator[str]:
    with open_file(source) as stream:
        lines = stream.read().decode("utf-8-sig").splitlines()
    rows = csv.reader(lines, strict=True)
    place = _place(source, next(rows, []), column)
    for row in rows:
        yield row[place].strip() if len(row) > place else ""


def _parquet_column(source: str, column: str | None) -> Iterator[str]:
    with open_file(source) as stream, pq.ParquetFile(stream) as table:
        names = table.schema_arrow.names
        name = names[_place(source, names, column)]
        for batch in table.iter_batches(columns=[name]):
            for value in batch.column(0).to_pylist():
                if value is not None and not isinstance(value, str):
                    raise OnnxplainError(f"{source}: found {name} of {type(value).__name__}, expected text: paths")
                yield value or ""


def _place(source: str, names: Iterable[str], column: str | None) -> int:
    listed = list(names)
    wanted = (column,) if column is not None else PATH_COLUMNS
    for name in wanted:
        if name in listed:
            return listed.index(name)
    if column is None and len(listed) == 1:
        return 0
    raise OnnxplainError(
        f"{source}: found the columns {', '.join(listed) or 'none'}, expected {' or '.join(wanted)}: name the column "
        "of paths with --column"
    )


def _absolute(path: Path) -> str:
    # Not resolve(): a link may be the name that the user knows.
    return Path(os.path.normpath(path.absolute())).as_posix()
