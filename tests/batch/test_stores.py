"""A batch into a store is the batch into a folder: also where the store fails, and where two write at once."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from onnxplain.batch import reader
from onnxplain.batch.folder import SUCCESS_FILE
from onnxplain.batch.ray_fleet import RayChoice
from onnxplain.batch.status import read_status
from onnxplain.batch.stores import storage
from onnxplain.batch.stores.output import LocalOutput, open_output
from onnxplain.batch.stores.store_lock import LockTimes
from onnxplain.batch.stores.store_output import StoreOutput
from onnxplain.errors import OnnxplainError
from onnxplain.files.lock import FOLDER_LOCK
from tests.batch.flaky_store import FlakyStore, RenamingStore
from tests.batch.reading import part_bytes
from tests.batch.trouble import run

QUICK = LockTimes(renewed=0.05, expires=0.4, watched=0.02)
URIS = ("az://bucket/out", "renaming://bucket/out")


@pytest.fixture(autouse=True)
def _stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for kind in (FlakyStore, RenamingStore):
        fsspec.register_implementation(kind.protocol[0], kind, clobber=True)
    FlakyStore.empty()
    monkeypatch.setattr(storage, "PAUSES_SECONDS", (0.0, 0.0, 0.0))
    yield
    FlakyStore.empty()


def place(uri: str) -> StoreOutput:
    return StoreOutput(uri, QUICK)


def parts() -> dict[str, bytes]:
    return {name: content for name, content in FlakyStore.content("bucket/out").items() if name.endswith(".parquet")}


@pytest.fixture(scope="module")
def source(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images, one of them damaged."""
    folder = tmp_path_factory.mktemp("few")
    for path in sorted((photos / "first").iterdir())[:10]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def whole(model: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    run(model, source, folder, part_size=2)
    return part_bytes(folder)


@pytest.mark.parametrize("uri", URIS)
def test_a_batch_into_a_store_has_the_bytes_of_a_folder(uri: str, model: Path, source: Path, whole: dict) -> None:
    counts = run(model, source, place(uri), part_size=2)
    assert (counts.parts, counts.images, counts.failed) == (5, 10, 1)
    assert parts() == whole
    assert FlakyStore.content("bucket/out").keys() - whole.keys() == {"plan.jsonl", "run.json", SUCCESS_FILE}
    written = [path for name, path in FlakyStore.operations if name in ("put", "rename")]
    assert written[-1].endswith(SUCCESS_FILE)
    assert read_status(place(uri)).state == "finished"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("uri", URIS)
def test_a_store_that_fails_now_and_then_loses_nothing(
    uri: str, seed: int, model: Path, source: Path, whole: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Almost every second operation fails half-way, and no reader ever sees a part that is not whole."""
    rng, torn, failed = random.Random(seed), [], []

    def fails(name: str, number: int) -> bool:
        torn.extend(name for name, content in parts().items() if content != whole[name])
        is_failing = rng.random() < 0.45
        failed.extend([name] * is_failing)
        return is_failing

    FlakyStore.fails = staticmethod(fails)
    monkeypatch.setattr(storage, "PAUSES_SECONDS", (0.0,) * 12)
    run(model, source, place(uri), part_size=2)
    assert parts() == whole
    assert not torn
    assert len(failed) > 2


@pytest.mark.parametrize("uri", URIS)
def test_a_store_that_stops_to_answer_is_named_and_the_run_goes_on_later(
    uri: str, model: Path, source: Path, whole: dict
) -> None:
    FlakyStore.fails = staticmethod(lambda name, number: len(parts()) == 2 and name in ("put", "write"))
    with pytest.raises(OnnxplainError, match=rf"{uri}/part-00002.parquet: cannot be written \(.*; 4 attempts\)"):
        run(model, source, place(uri), part_size=2)
    assert sorted(parts()) == ["part-00000.parquet", "part-00001.parquet"]
    assert read_status(place(uri)).state == "stopped"
    FlakyStore.fails = staticmethod(lambda name, number: False)
    FlakyStore.operations.clear()
    run(model, source, place(uri), part_size=2)
    assert parts() == whole
    again = [path for name, path in FlakyStore.operations if name in ("put", "rename") and "part-" in path]
    assert [Path(path).name for path in again] == [f"part-0000{number}.parquet" for number in (2, 3, 4)]
    assert not [name for name in FlakyStore.content("bucket/out") if name.startswith(".onnxplain-")]


@pytest.mark.parametrize(
    ("error", "words"),
    [(PermissionError("403 forbidden"), "403 forbidden"), (NotImplementedError(), "its package cannot do this")],
)
def test_a_refusal_is_not_asked_for_again(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(store: FlakyStore, path: str, value: bytes, **more: object) -> None:
        asked.append(path)
        raise error

    monkeypatch.setattr(FlakyStore, "pipe_file", refuse)
    with pytest.raises(OnnxplainError, match=rf"az://bucket/out/x: cannot be written \({words}\)"):
        place(URIS[0]).write("x", b"")
    assert len(asked) == 1


def test_another_run_into_the_store_is_refused(model: Path, source: Path) -> None:
    run(model, source, place(URIS[0]), part_size=2)
    before = parts()
    with pytest.raises(OnnxplainError, match="az://bucket/out: found a batch with another plan"):
        run(model, source, place(URIS[0]), part_size=3)
    assert parts() == before


def test_images_of_a_store(model: Path, source: Path, whole: dict) -> None:
    for path in source.iterdir():
        FlakyStore().pipe_file(f"/photos/{path.name}", path.read_bytes())
    FlakyStore.fails = staticmethod(lambda name, number: number % 3 == 0)
    counts = run(model, "az://photos", place(URIS[0]), part_size=2)
    assert (counts.images, counts.failed) == (10, 1)


def test_images_of_a_store_are_on_their_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, and a path among them is left to the reader."""
    together = threading.Barrier(8, timeout=30)

    def read(name: str) -> bytes:
        together.wait()
        return name.encode()

    monkeypatch.setattr(reader, "read_object", read)
    names = [f"az://photos/{number}" for number in range(16)]
    found = list(reader.fetch_ahead([*names, "a/path"]))
    assert [future.result().decode() for future in found[:-1]] == names
    assert found[-1] is None


def test_workers_write_into_a_store(model: Path, source: Path, whole: dict, tmp_path: Path) -> None:
    """One that other processes see: fsspec's local disk."""
    run(model, source, place(f"local://{tmp_path.as_posix()}/out"), part_size=2, workers=2)
    assert part_bytes(tmp_path / "out") == whole


def test_one_process_at_a_time(model: Path, source: Path) -> None:
    mine, other = place(URIS[0]), place(URIS[0])
    with mine.lock():
        assert other.is_locked()
        # It is renewed.
        time.sleep(2 * QUICK.expires)
        with pytest.raises(OnnxplainError, match=r"az://bucket/out: another onnxplain is writing there \(process \d+"):
            run(model, source, other, part_size=2)
    assert not other.is_locked()
    assert not FlakyStore.content("bucket/out")


def test_the_lock_of_a_process_that_was_killed_ends() -> None:
    killed = place(URIS[0])
    with killed.lock():
        left = FlakyStore.content("bucket/out")[FOLDER_LOCK]
    killed.write(FOLDER_LOCK, left)
    with pytest.raises(OnnxplainError, match="its lock ends 0 s later"), killed.lock():
        pass
    time.sleep(QUICK.expires)
    with killed.lock():
        pass


@pytest.mark.parametrize("late", [False, True])
def test_of_processes_that_begin_at_once_one_gets_the_lock(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if one of them finds no lock and writes its own long after that."""
    times = LockTimes(renewed=0.1, expires=5.0, watched=0.15)
    inside, most, refused = [], [], []
    together, write = threading.Barrier(3), StoreOutput.write

    def slow_write(output: StoreOutput, name: str, content: bytes) -> None:
        if late and threading.current_thread().name == "worker-0":
            time.sleep(0.4)
        write(output, name, content)

    monkeypatch.setattr(StoreOutput, "write", slow_write)

    def work() -> None:
        together.wait()
        try:
            with StoreOutput(URIS[0], times).lock():
                inside.append(1)
                most.append(len(inside))
                time.sleep(1.0)
                inside.pop()
        except OnnxplainError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=work, name=f"worker-{number}") for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(refused) == 2


def test_a_uri_of_the_local_disk_is_a_folder(tmp_path: Path) -> None:
    assert open_output(f"file://{tmp_path.as_posix()}") == LocalOutput(tmp_path)


BAD = {
    "nosuch://bucket/out": "nosuch://bucket/out: found the scheme nosuch",
    "memory://out": "-o: found memory://out, which ends with this process",
    "s3://key:secret@bucket/out?nonsense=1": "s3://bucket: cannot be opened (Unexpected query parameter",
}


@pytest.mark.parametrize("uri", BAD)
def test_a_place_that_cannot_be_written_to_is_one_line_without_keys(uri: str) -> None:
    with pytest.raises(OnnxplainError) as found:
        open_output(uri).write("x", b"")
    assert str(found.value).startswith(BAD[uri])
    assert "secret" not in str(found.value)


def test_an_address_that_does_not_answer_leaves_the_folder_free(model: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(OnnxplainError, match="found nothing that answers"):
        run(model, source, tmp_path / "out", ray=RayChoice("127.0.0.1:1"))
    assert not (tmp_path / "out").exists()
