"""Runs over the table: what is chosen, kept, resumed, skipped and refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import run as running
from benchmarks.bench import Bench, Outcome
from benchmarks.case import Case
from benchmarks.environments import Environment
from benchmarks.record import Run
from benchmarks.results import FORMAT, ResultsError, append_case, measured, read_results
from benchmarks.run import UsageError, choose_cases, run_cases
from tests.benchmarks.fakes import make_bench

CASES = [
    Case("cam/a/b1", "time", "map", "fake", "r", ("onnxplain", "floor", "other@fast"), rounds=1),
    Case("cam/b/b1", "time", "map", "fake", "r", ("onnxplain", "floor"), rounds=1),
    Case("gpu/a", "time", "map", "fake", "r", ("onnxplain",), rounds=1, provider="cuda"),
]
RUN = Run({"cpu": "any", "cores": 2, "gpu": None}, "abc", threads=1, quick=False, rounds=None)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cases that were measured; measuring itself is replaced."""
    names: list[str] = []

    def measure(_bench: Bench, case: Case, tools: Sequence[str]) -> list[Outcome]:
        names.append(case.name)
        return [Outcome(tool, samples=[1.0] * case.rounds) for tool in tools]

    monkeypatch.setattr(running, "measure", measure)
    monkeypatch.setattr(running, "write_missing", lambda _models: {})
    return names


def test_an_interrupted_run_keeps_whole_cases_and_resumes(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, results = make_bench(tmp_path), tmp_path / "results.jsonl"
    measure = running.measure

    def interrupted(bench: Bench, case: Case, tools: Sequence[str]) -> list[Outcome]:
        if case.name == "cam/b/b1":
            raise KeyboardInterrupt
        return measure(bench, case, tools)

    monkeypatch.setattr(running, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_cases(RUN, bench, CASES[:2], results)
    assert {row["case"] for row in read_results(results)} == {"cam/a/b1"}

    monkeypatch.setattr(running, "measure", measure)
    assert run_cases(RUN, bench, CASES[:2], results) == 1
    assert asked == ["cam/a/b1", "cam/b/b1"]
    assert run_cases(RUN, bench, CASES[:2], results) == 0
    assert run_cases(RUN, bench, CASES[:2], results, again=True) == 2
    assert run_cases(replace(RUN, commit="def"), bench, CASES[:2], results) == 2


def test_a_case_is_measured_again_for_tools_that_it_lacks(tmp_path: Path, asked: list[str]) -> None:
    bench, results = make_bench(tmp_path), tmp_path / "results.jsonl"
    run_cases(RUN, bench, choose_cases(CASES[:2], [], [], ["onnxplain", "floor"]), results)
    assert run_cases(RUN, bench, CASES[:2], results) == 1
    assert asked == ["cam/a/b1", "cam/b/b1", "cam/a/b1"]


def test_without_a_gpu_its_cases_are_skipped_by_one_line(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_cases(RUN, make_bench(tmp_path), CASES, tmp_path / "results.jsonl")
    assert asked == ["cam/a/b1", "cam/b/b1"]
    assert "skipped 1 GPU cases: no CUDA device found" in capsys.readouterr().err
    with_gpu = replace(RUN, machine={"gpu": "card"})
    run_cases(with_gpu, make_bench(tmp_path), CASES[2:], tmp_path / "results.jsonl")
    assert asked[-1] == "gpu/a"


def test_a_model_that_is_not_there_is_a_reason_for_every_tool(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "write_missing", lambda _models: {"fake": "no such file"})
    run_cases(RUN, make_bench(tmp_path), CASES[:1], tmp_path / "results.jsonl")
    rows = read_results(tmp_path / "results.jsonl")
    assert not asked and [row["error"] for row in rows] == ["no such file"] * 3


@pytest.mark.parametrize(
    ("groups", "patterns", "tools", "expected"),
    [
        ([], [], [], [("cam/a/b1", 3), ("cam/b/b1", 2), ("gpu/a", 1)]),
        (["gpu"], [], [], [("gpu/a", 1)]),
        ([], ["*/a*"], [], [("cam/a/b1", 3), ("gpu/a", 1)]),
        ([], [], ["other"], [("cam/a/b1", 1)]),
        ([], [], ["other@fast", "floor"], [("cam/a/b1", 2), ("cam/b/b1", 1)]),
    ],
)
def test_choosing(groups: list[str], patterns: list[str], tools: list[str], expected: list[tuple[str, int]]) -> None:
    chosen = choose_cases(CASES, groups, patterns, tools)
    assert [(case.name, len(case.tools)) for case in chosen] == expected


@pytest.mark.parametrize(
    ("groups", "patterns", "tools", "message"),
    [
        (["cams"], [], [], "group: found 'cams', expected one of cam, gpu"),
        ([], ["nothing*"], [], "case: found 'nothing"),
        ([], [], ["nobody"], "tool: found 'nobody', expected one of floor, onnxplain, other, other@fast"),
        (["gpu"], [], ["floor"], "no case that has all"),
    ],
)
def test_unknown_names_are_refused(groups: list[str], patterns: list[str], tools: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_cases(CASES, groups, patterns, tools)


def row(case: str, tool: str, date: str = "1") -> dict[str, str]:
    return {"run": "r", "case": case, "tool": tool, "date": date}


def test_a_half_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_case(path, [row("a", "x"), row("a", "y")])
    with path.open("a") as file:
        file.write('{"format": 1, "case": "b", "to')
    assert len(read_results(path)) == 2
    append_case(path, [row("b", "x")])
    assert [(line["case"], line["tool"]) for line in read_results(path)] == [("a", "x"), ("a", "y"), ("b", "x")]


def test_the_last_block_of_a_case_counts() -> None:
    rows = [row("a", "x", "1"), row("a", "y", "1"), row("a", "x", "2")]
    assert measured(rows, "r", "a") == {"x"}
    assert measured(rows, "r", "b") == set()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"format": FORMAT + 1}), rf"line 1: found format {FORMAT + 1}, expected {FORMAT}"),
        ("no json", "line 1: found no result"),
        ("[1]", "line 1: found no result"),
        ("{}", "line 1: found no result"),
    ],
)
def test_other_formats_are_refused_before_anything_is_measured(
    tmp_path: Path, asked: list[str], text: str, message: str
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(ResultsError, match=message):
        run_cases(RUN, make_bench(tmp_path), CASES, path)
    assert not asked and path.read_text() == text + "\n"


def test_results_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="found no such file"):
        read_results(tmp_path / "results.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--group", "cams"], "group: found 'cams'"),
        (["run", "--threads", "0"], "found 0 threads"),
        (["peers", "nobody"], "found peer 'nobody'"),
        (["report", "--results", "nothing.jsonl"], "found no such file"),
    ],
)
def test_the_command_line_says_one_line_and_ends_with_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(("named", "status"), [(["other", "gone"], 1), ([], 0)], ids=["named", "all"])
def test_a_named_peer_that_cannot_be_installed_ends_with_1(
    named: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of all peers some cannot be installed on every machine; one that is named is needed."""

    def install(name: str) -> Environment:
        reason = "not installable here: no network" if name == "gone" else None
        return Environment(name, Path(sys.executable), Path("worker.py"), None, reason=reason)

    monkeypatch.setattr(command, "install", install)
    monkeypatch.setattr(command, "peers", lambda: ("other", "gone"))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "peers", "--install", *named])
    if status:
        with pytest.raises(SystemExit) as stop:
            command.main()
        assert stop.value.code == status
    else:
        command.main()
    out, error = capsys.readouterr()
    assert out.splitlines() == ["other: ready", "gone: not installable here: no network"]
    assert bool(error) == bool(status)
    if status:
        (line,) = error.splitlines()
        assert "not installed: gone: check the network" in line and "runs/peers/gone/pip.log" in line


@pytest.mark.parametrize(
    ("cores", "arguments", "message"), [(1, [], "one core"), (2, ["--threads", "4"], "4 threads on 2 cores")]
)
def test_a_machine_too_small_for_the_question_says_so(
    cores: int,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    ran: list[int] = []
    monkeypatch.setattr(command, "count_cores", lambda: cores)
    monkeypatch.setattr(command, "run_cases", lambda run, *_rest: ran.append(run.threads))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "run", "--results", str(tmp_path / "r.jsonl"), *arguments])
    command.main()
    assert message in capsys.readouterr().err
    assert ran == [4 if arguments else cores]


def test_an_interruption_is_said_and_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_anything: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_cases", interrupt)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "run"])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 130 and "interrupted" in capsys.readouterr().err
