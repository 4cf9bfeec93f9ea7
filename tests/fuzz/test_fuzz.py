"""A hundred cases of all kinds, and the files that once broke something: no traceback, no signal, nothing left."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import write_photo
from tests.fuzz.campaign import TEMPORARY, run_case
from tests.fuzz.damage import damaged_bytes, damaged_json
from tests.fuzz.kinds import KINDS, Seeds, make_seeds
from tests.fuzz.nursery import Ending, Nursery
from tests.fuzz.verdict import faults

CASES = 100
SHARES = sum(kind.share for kind in KINDS.values())
HOSTILE = "shared/cases/hostile"


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as started:
        yield started


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.parametrize("kind", KINDS)
def test_cases(kind: str, nursery: Nursery, seeds: Seeds, tmp_path: Path) -> None:
    for seed in range(CASES * KINDS[kind].share // SHARES):
        finding, ending = run_case(kind, seed, seeds, nursery, tmp_path / "case")
        assert not finding.faults, f"{finding.faults}: --kind {kind!r} --seed {seed}: {ending.stderr[-500:]!r}"


def hostile_files() -> list[Path]:
    """Files that once broke something. They are not in the repository; without them nothing is tested here."""
    folders = [parent / HOSTILE for parent in Path(__file__).parents]
    return sorted(path for folder in folders if folder.is_dir() for path in folder.glob("*.onnx"))


@pytest.mark.parametrize("path", hostile_files(), ids=lambda path: path.stem)
def test_a_hostile_file(path: Path, nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / TEMPORARY).mkdir()
    write_photo(tmp_path / "photo.png")
    shutil.copy(path, tmp_path / "model.onnx")
    before = set(tmp_path.rglob("*"))
    for words in (["explain", "model.onnx", "photo.png", "-o", "out"], ["instrument", "model.onnx", "-o", "out.onnx"]):
        ending = nursery.run([*words, "--timeout", "2"], tmp_path)
        left = sorted(set(tmp_path.rglob("*")) - before) if ending.status == 2 else []
        # Beside an error there is at most the line that says what is assumed.
        found = faults(ending, errors=2, left=left)
        assert not found, f"{found}: {words}: {ending.stderr[-500:]!r}"
        for name in ("out", "out.onnx", "out.tail.onnx"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            (tmp_path / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Ending(0, None, 1, 10), []),
        (Ending(2, None, 1, 10, stderr="onnxplain: one line\n"), []),
        (Ending(2, None, 1, 10), ["silent"]),
        (Ending(None, 11, 1, 10), ["signal"]),
        (Ending(None, 9, 1, 10, hung=True), ["hang"]),
        (Ending(0, None, 61, 10), ["hang"]),
        (Ending(0, None, 1, 3 * 2**30), ["memory"]),
        (Ending(70, None, 1, 10), ["status"]),
        (Ending(0, None, 1, 10, stdout="\x1b[1m"), ["control"]),
        (Ending(0, None, 1, 10, stdout="\u202e"), ["control"]),
        (Ending(2, None, 1, 10, stderr="1\n2\n3\n"), ["lines"]),
        (Ending(2, None, 1, 10, stderr="Traceback (most recent call last):\n"), ["traceback"]),
        (Ending(2, None, 1, 10, stderr="onnxplain: internal error (x)\n"), ["internal error"]),
        (Ending(2, None, 1, 10, stderr="x" * 5000), ["long"]),
    ],
)
def test_the_judge_sees_every_fault(ending: Ending, expected: list[str]) -> None:
    assert faults(ending, errors=2) == expected
    assert faults(Ending(2, None, 1, 10, stderr="line"), 2, [Path("left")]) == ["left behind"]


def test_a_seed_gives_the_same_case_again() -> None:
    for seed in range(20):
        assert damaged_bytes(random.Random(seed), b"x" * 500) == damaged_bytes(random.Random(seed), b"x" * 500)
        text = '{"a": [1, {"b": "c"}]}'
        assert damaged_json(random.Random(seed), text) == damaged_json(random.Random(seed), text)
