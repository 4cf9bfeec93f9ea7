from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.evaluation.journal import IMAGES_FILE, RUN_FILE, SUMMARY_FILE, Journal

IDENTITY = {"model": {"sha256": "abc"}, "methods": {"rise": {"fill": (1.0, 2.0, 3.0)}}, "seed": 0}
ROWS = [{"image": "a", "iou": 0.1 + 0.2}, {"image": "ü", "problem": {"path": "ü"}}, {"image": "c", "hit": True}]


def write(folder: Path, count: int = 3) -> Path:
    with Journal(folder, IDENTITY) as journal:
        for row in ROWS[:count]:
            journal.add(row)
    return folder


def read(folder: Path) -> list[dict[str, object]]:
    with Journal(folder, IDENTITY) as journal:
        return list(journal.rows())


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    assert read(write(tmp_path / "new" / "folder")) == [{"index": i, **row} for i, row in enumerate(ROWS)]


def test_the_file_of_a_problem_is_named_from_the_folder(tmp_path: Path) -> None:
    """A file that is there, one that is gone, and the name of an image that has no file."""
    folder, here, gone = tmp_path / "out", tmp_path / "a.png", tmp_path / "none" / "b.png"
    here.touch()
    with Journal(folder, IDENTITY) as journal:
        for path in (here, gone, Path("digits 3")):
            journal.add({"problem": {"path": str(path)}})
        written = [json.loads(line)["problem"]["path"] for line in (folder / IMAGES_FILE).read_text().splitlines()]
        assert written == ["../a.png", "../none/b.png", "digits 3"]
        assert [row["problem"]["path"] for row in journal.rows()] == [str(here), str(gone), "digits 3"]


@pytest.mark.parametrize("kept", range(1, 40))
def test_a_last_line_that_was_cut_off_is_dropped(kept: int, tmp_path: Path) -> None:
    images = write(tmp_path, 2) / IMAGES_FILE
    whole = images.read_bytes()
    second = whole.index(b"\n") + 1
    images.write_bytes(whole[: second + kept])
    with Journal(tmp_path, IDENTITY) as journal:
        assert journal.done == 1
        for row in ROWS[1:]:
            journal.add(row)
    assert images.read_bytes() == whole + b'{"index": 2, "image": "c", "hit": true}\n'


def test_nothing_is_written_while_rows_are_safe(tmp_path: Path) -> None:
    """A row is in the file as soon as `add` is over, before the journal is closed."""
    with Journal(tmp_path, IDENTITY) as journal:
        journal.add(ROWS[0])
        assert (tmp_path / IMAGES_FILE).read_bytes().endswith(b"\n")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, ["seed 0", "expected 1"]),
        ({"model": {"sha256": "def"}}, ["model", "abc", "def"]),
        ({"methods": {}}, ["methods", "rise"]),
        ({"more": 1}, ["more null", "expected 1"]),
    ],
)
def test_another_question_is_refused(changes: dict[str, object], words: list[str], tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in write(tmp_path).iterdir()}
    with pytest.raises(OnnxplainError, match="another folder") as error, Journal(tmp_path, {**IDENTITY, **changes}):
        pass
    for word in (str(tmp_path), *words):
        assert word in str(error.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({RUN_FILE: "no JSON"}, [RUN_FILE, "no description"]),
        ({RUN_FILE: "[]"}, [RUN_FILE, "no description"]),
        ({IMAGES_FILE: "{}\n"}, [IMAGES_FILE, f"without {RUN_FILE}"]),
        ({SUMMARY_FILE: "mine"}, [SUMMARY_FILE, f"without {RUN_FILE}"]),
        ({RUN_FILE: None, IMAGES_FILE: '{"index": 1}\n'}, [f"{IMAGES_FILE}:1", "image 0"]),
        ({RUN_FILE: None, IMAGES_FILE: '{"index": 0}\n{"index": 0}\n'}, [f"{IMAGES_FILE}:2", "image 1"]),
        ({RUN_FILE: None, IMAGES_FILE: '{"index": 0}\nnoise\n{"index": 2}\n'}, [f"{IMAGES_FILE}:2"]),
        ({RUN_FILE: None, IMAGES_FILE: "[0]\n"}, [f"{IMAGES_FILE}:1"]),
    ],
)
def test_other_folders_are_refused(files: dict[str, str | None], words: list[str], tmp_path: Path) -> None:
    own = json.dumps({"format": 2, **IDENTITY})
    for name, content in files.items():
        (tmp_path / name).write_text(own if content is None else content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OnnxplainError) as error, Journal(tmp_path, IDENTITY):
        pass
    for word in words:
        assert word in str(error.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OnnxplainError, match="cannot be written"), Journal(tmp_path / "file", IDENTITY):
        pass


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="the system has no such locks")
    with (
        Journal(tmp_path, IDENTITY),
        pytest.raises(OnnxplainError, match="another onnxplain is writing"),
        Journal(tmp_path, IDENTITY),
    ):
        pass
