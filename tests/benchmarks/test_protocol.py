"""The harness and a worker, through a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.client import ROOT, THREAD_VARIABLES, Client, WorkerError, worker_command, worker_environment
from tests.benchmarks.fakes import noise_free, write_peer


def case(method: str, tool: str = "fake", **options: object) -> dict[str, Any]:
    return {"tool": tool, "method": method, "masks": 5, "seed": 0, "options": options}


def start(folder: Path) -> Client:
    command = worker_command(Path(sys.executable), write_peer(folder, "fake"))
    return Client(command, worker_environment(1, own=False), folder / "worker.log", patience=60)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with start(tmp_path) as opened:
        yield opened


def test_a_case_from_hello_to_quit(client: Client, tmp_path: Path) -> None:
    assert client.hello() == {"numpy": np.__version__}
    client.prepare(case("map"))
    assert client.run(3) > 0
    answer = client.answer(tmp_path / "answer.npy")
    np.testing.assert_array_equal(answer, noise_free().astype(np.float32))
    assert answer.dtype == np.float32 and client.evaluations == 5
    assert 2**20 < client.peak() < 2**31
    assert "noise on standard output" in (tmp_path / "worker.log").read_text()


def test_masks_and_seed_change_without_a_new_preparation(client: Client, tmp_path: Path) -> None:
    client.prepare(case("map"))
    client.run(1, masks=7, seed=2)
    np.testing.assert_array_equal(client.answer(tmp_path / "answer.npy"), noise_free().astype(np.float32) + 2)
    assert client.evaluations == 7


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (case("map", refuse=True), "it cannot"),
        (case("dance"), "fake has no dance"),
        # A variant is a method of its own: the plain one must not answer for it.
        (case("rise", tool="fake@other"), "fake has no rise@other"),
    ],
)
def test_a_refusal_is_one_line_and_the_worker_lives_on(client: Client, asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(WorkerError) as error:
        client.prepare(asked)
    assert str(error.value) == reason
    client.prepare(case("map", tool="fake@other"))
    assert client.run() > 0


def test_running_before_preparing_is_refused(client: Client) -> None:
    with pytest.raises(WorkerError, match="before it prepared"):
        client.run()


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("broken", "ValueError: first line"),
        ("dying", "the process ended with status 3: last words"),
    ],
)
def test_failures_become_one_line(client: Client, method: str, reason: str) -> None:
    client.prepare(case(method))
    with pytest.raises(WorkerError) as error:
        client.run()
    assert str(error.value) == reason


def test_silence_is_given_up(tmp_path: Path) -> None:
    with start(tmp_path) as client:
        client.prepare(case("silent"))
        client.patience = 0.2
        with pytest.raises(WorkerError, match=r"no answer within 0\.2 s"):
            client.run()
        with pytest.raises(WorkerError, match="the process ended with signal 9"):
            client.run()


def test_one_cold_run_writes_its_map(tmp_path: Path) -> None:
    question, answer = tmp_path / "case.json", tmp_path / "answer.npy"
    question.write_text(json.dumps(case("map")))
    command = worker_command(Path(sys.executable), write_peer(tmp_path, "fake"), "--once", question, answer)
    subprocess.run([str(part) for part in command], check=True, env=worker_environment(1, own=False))
    np.testing.assert_array_equal(np.load(answer), noise_free().astype(np.float32))


@pytest.mark.parametrize("own", [True, False])
def test_all_sides_get_the_same_threads_and_only_ours_this_checkout(own: bool) -> None:
    environment = worker_environment(3, own=own)
    assert {environment[name] for name in THREAD_VARIABLES} == {"3"}
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert (environment["PYTHONPATH"] == str(ROOT)) is own
