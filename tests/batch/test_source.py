"""What SOURCE names, in which order, and what is said of a source that names nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onnxplain.batch.source import list_source
from onnxplain.batch.stores import storage
from onnxplain.batch.stores.storage import read_object
from onnxplain.errors import ImageError, OnnxplainError


def names(images: tuple[str, ...], folder: Path) -> list[str]:
    return [image.split(folder.as_posix() + "/")[-1] for image in images]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "sub/c.png", "sub/deep/d.npy", ".hidden/e.png", ".f.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


FOLDER = ["a.JPG", "b.png", "sub/c.png", "sub/deep/d.npy"]


def test_a_folder_with_its_subfolders(folder: Path) -> None:
    assert names(list_source(str(folder)), folder) == FOLDER


def test_one_image(folder: Path) -> None:
    assert names(list_source(str(folder / "b.png")), folder) == ["b.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["b.png"]),
        ("**/*.png", ["b.png", "sub/c.png"]),
        ("s*/c.*", ["sub/c.png"]),
        ("*", ["a.JPG", "b.png", "notes.txt"]),
    ],
)
def test_a_pattern(folder: Path, pattern: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert names(list_source(pattern), folder) == expected
    assert list_source(str(folder / pattern)) == list_source(pattern)


@pytest.mark.parametrize("text", ["image\nb.png\nsub/c.png\nb.png\n", "label,path\n1,b.png\n2,sub/c.png\n"])
def test_a_csv_keeps_its_order_and_each_image_once(folder: Path, text: str) -> None:
    (folder / "list.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert names(list_source(str(folder / "list.csv")), folder) == ["b.png", "sub/c.png"]


def test_a_parquet_and_its_column(folder: Path) -> None:
    table = pa.table({"path": ["b.png"], "mine": ["sub/c.png"], "number": [1]})
    pq.write_table(table, folder / "list.parquet")
    assert names(list_source(str(folder / "list.parquet")), folder) == ["b.png"]
    assert names(list_source(str(folder / "list.parquet"), "mine"), folder) == ["sub/c.png"]


def test_a_uri_lists_what_the_folder_does(folder: Path) -> None:
    """Also with a table in it, and by fsspec."""
    base = f"file://{folder.as_posix()}"
    assert names(list_source(base), folder) == FOLDER
    (folder / "list.csv").write_text("image\nsub/c.png\n")
    assert list_source(f"{base}/list.csv") == (f"{base}/sub/c.png",)
    assert read_object(f"{base}/sub/c.png") == b"x"


def test_a_uri_of_fsspec(folder: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is no part of the extra")
    memory = fsspec.filesystem("memory")
    memory.pipe("/batch/b c.png", b"y")
    assert list_source("memory://batch") == ("memory://batch/b c.png",)
    assert read_object("memory://batch/b c.png") == b"y"


def test_a_store_that_fails_is_asked_again_and_then_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    opened, real = [], storage.open_store

    def failing(uri: str):
        opened.append(uri)
        if len(opened) < 3:
            raise OSError("timed out")
        return real(uri)

    monkeypatch.setattr(storage, "open_store", failing)
    uri = f"file://{folder.as_posix()}/b.png"
    assert read_object(uri, (0.0, 0.0)) == b"x"
    opened.clear()
    with pytest.raises(ImageError, match=r"cannot be read \(timed out; 2 attempts\)"):
        read_object(uri, (0.0,))
    with pytest.raises(ImageError, match="no such object"):
        read_object(f"{uri}.gone", (0.0, 0.0))


BAD = {
    "nothing": "no such file or folder",
    "*.gif": "found no image",
    "empty": "found no image",
    "folders/*": "found 3 folders and no file",
    "list.csv": "found the columns a, b, expected image or path",
    "hole.csv": "found no path in row 2",
    "binary.csv": "cannot be read",
    "binary.parquet": "cannot be read",
    "numbers.parquet": "found image of int, expected text",
    "nosuch://bucket/x": "found the scheme nosuch",
    "file:///nosuch-folder-of-batch": "cannot be listed",
}


@pytest.mark.parametrize("source", BAD)
def test_a_source_that_cannot_be_used_is_one_line(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "folders/1", "folders/2", "folders/3"):
        Path(name).mkdir(parents=True)
    Path("list.csv").write_text("a,b\n1,2\n")
    Path("hole.csv").write_text("image,b\nx.png,2\n,3\n")
    Path("binary.csv").write_bytes(b"image\n\xff\xfe\n")
    Path("binary.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"image": [1]}), "numbers.parquet")
    with pytest.raises(OnnxplainError) as found:
        list_source(source)
    assert BAD[source] in str(found.value)
    assert "\n" not in str(found.value)


def test_a_column_is_for_tables(folder: Path) -> None:
    with pytest.raises(OnnxplainError, match="--column: found"):
        list_source(str(folder), "image")


def test_a_uri_without_fsspec_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(OnnxplainError, match="run pip install fsspec"):
        list_source("memory://batch")
