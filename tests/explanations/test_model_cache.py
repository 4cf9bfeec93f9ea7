"""The cache folder: where it is, how large it may grow, what is removed from it and what is not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.explanations.model_cache import ModelCache, cache_key

DAY = 24 * 60 * 60


def add(cache: ModelCache, number: int, size: int, used: float | None = None) -> Path | None:
    """A copy of `size` bytes, which was last used at a time in seconds."""
    folder = cache.new_folder()
    (folder / "model.onnx").write_bytes(bytes(size))
    kept = cache.keep(cache_key(str(number), {}), folder, f"{number}.onnx")
    if kept is not None and used is not None:
        os.utime(kept.with_name("entry.json"), (used, used))
    return kept


def sources(cache: ModelCache) -> list[str]:
    return [entry.source for entry in cache.entries()]


def test_the_copies_that_were_not_used_longest_go_first(tmp_path):
    cache = ModelCache(tmp_path / "cache", limit=10_000)
    for number, used in enumerate((300, 100, 200)):
        add(cache, number, 3_000, used)
    assert sources(cache) == ["0.onnx", "2.onnx", "1.onnx"]
    # A use counts: the oldest is now the newest.
    assert cache.find(cache_key("1", {})) is not None
    add(cache, 3, 3_000)
    assert set(sources(cache)) == {"3.onnx", "1.onnx", "0.onnx"}
    add(cache, 4, 9_000)
    assert sources(cache) == ["4.onnx"]
    assert sum(entry.size for entry in cache.entries()) <= cache.limit


def test_the_newest_copy_stays_whatever_the_clock_says(tmp_path):
    cache = ModelCache(tmp_path, limit=10_000)
    add(cache, 0, 8_000, used=9e9)
    assert add(cache, 1, 8_000) is not None
    assert sources(cache) == ["1.onnx"]


def test_a_copy_over_the_limit_is_not_kept(tmp_path):
    cache = ModelCache(tmp_path, limit=1_000)
    add(cache, 0, 100)
    assert add(cache, 1, 1_001) is None
    assert sources(cache) == ["0.onnx"]


def test_remains_of_killed_processes_go_after_a_day(tmp_path):
    cache = ModelCache(tmp_path)
    old, new = cache.new_folder(), cache.new_folder()
    (old / "model.onnx").write_bytes(b"part")
    os.utime(old, (1, 1))
    add(cache, 0, 10)
    assert not old.exists()
    assert new.exists()


def test_emptying_removes_only_what_the_cache_made(tmp_path):
    cache = ModelCache(tmp_path / "cache")
    for number in range(2):
        add(cache, number, 10)
    cache.new_folder()
    foreign = [cache.folder / "notes.txt", cache.folder / "folder" / "model.onnx", cache.folder / ".hidden.part" / "x"]
    # A file of the user's own in the folder of a copy.
    foreign.append(cache.entries()[0].folder / "mine.txt")
    outside = tmp_path / "outside.onnx"
    for path in (*foreign, outside):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    (cache.folder / ("a" * 64)).symlink_to(tmp_path)
    assert len(cache.empty()) == 1
    assert all(path.read_bytes() == b"mine" for path in (*foreign, outside))
    left = {path for path in cache.folder.rglob("*") if path.is_file()}
    assert left == set(foreign)
    assert not any(path.name.startswith(".onnxplain-") for path in cache.folder.iterdir())


def test_an_empty_or_missing_folder_is_an_empty_cache(tmp_path):
    cache = ModelCache(tmp_path / "missing")
    assert cache.entries() == cache.empty() == ()
    assert cache.find(cache_key("0", {})) is None
    assert not cache.folder.exists()


@pytest.mark.parametrize(
    ("environment", "platform", "folder"),
    [
        ({"ONNXPLAIN_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}, "linux", "/a/b"),
        ({"ONNXPLAIN_CACHE": "~/b"}, "linux", "/me/b"),
        ({"XDG_CACHE_HOME": "/c"}, "linux", "/c/onnxplain"),
        ({"XDG_CACHE_HOME": "/c"}, "darwin", "/c/onnxplain"),
        ({"XDG_CACHE_HOME": "relative"}, "linux", "/me/.cache/onnxplain"),
        ({"XDG_CACHE_HOME": ""}, "linux", "/me/.cache/onnxplain"),
        ({}, "linux", "/me/.cache/onnxplain"),
        ({}, "darwin", "/me/Library/Caches/onnxplain"),
        ({"LOCALAPPDATA": "/local"}, "win32", "/local/onnxplain/Cache"),
        ({}, "win32", "/me/AppData/Local/onnxplain/Cache"),
    ],
)
def test_the_folder(environment, platform, folder, monkeypatch):
    for name in ("ONNXPLAIN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/me", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert ModelCache.of_user().folder == Path(folder)


def test_without_a_home_folder_nothing_can_be_written(monkeypatch):
    monkeypatch.setenv("ONNXPLAIN_CACHE", "~no-such-user/cache")
    with pytest.raises(OSError, match="Not a directory"):
        ModelCache.of_user().new_folder()


@pytest.mark.parametrize(("text", "limit"), [("0.5", 500_000_000), ("0", 0), ("", 2_000_000_000), ("7", 7_000_000_000)])
def test_the_limit(text, limit, monkeypatch):
    monkeypatch.setenv("ONNXPLAIN_CACHE_GB", text)
    assert ModelCache.of_user().limit == limit


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf"])
def test_a_wrong_limit_is_refused(text, monkeypatch):
    monkeypatch.setenv("ONNXPLAIN_CACHE_GB", text)
    with pytest.raises(OnnxplainError, match="expected a size in GB"):
        ModelCache.of_user()
