"""Measure onnxplain, its floor and other tools: `python -m benchmarks run`, `report`, `list`, `peers`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.bench import SCRATCH, Bench
from benchmarks.cases import CASES
from benchmarks.client import ROOT
from benchmarks.environments import ENVIRONMENTS, UnknownPeerError, environment, install, peers, remove
from benchmarks.machine import count_cores
from benchmarks.record import start_run
from benchmarks.results import ResultsError
from benchmarks.run import UsageError, choose_cases, run_cases, say

RESULTS, QUICK_RESULTS = SCRATCH / "results.jsonl", SCRATCH / "quick.jsonl"


def main() -> None:
    arguments = parse_arguments()
    try:
        arguments.action(arguments)
    except (UsageError, ResultsError, UnknownPeerError) as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        say("interrupted: finished cases are kept, run the same command to continue")
        sys.exit(130)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="measure, and append to the results")
    run.add_argument("--group", action="append", default=[], help="only cases of this group (repeatable)")
    run.add_argument("--case", action="append", default=[], metavar="GLOB", help="only cases of this name (repeatable)")
    run.add_argument("--tool", action="append", default=[], help="only this tool (repeatable)")
    run.add_argument("--rounds", type=int, metavar="N", help="samples per tool; default: each case's own number")
    run.add_argument("--threads", type=int, metavar="N", help="threads of every tool; default: all cores")
    run.add_argument("--results", type=Path, metavar="FILE", help=f"default: {RESULTS.relative_to(ROOT)}")
    run.add_argument("--quick", action="store_true", help="once, with small sizes, to check that it works (5 minutes)")
    run.add_argument("--again", action="store_true", help="also measure cases that the results have")
    run.set_defaults(action=measure_cases)
    report = commands.add_parser("report", help="write docs/benchmarks.md, its pictures and the README's table")
    report.add_argument("--results", type=Path, metavar="FILE", default=RESULTS)
    report.set_defaults(action=write_report)
    commands.add_parser("list", help="print the table of cases").set_defaults(action=list_cases)
    environments = commands.add_parser("peers", help="print, install or remove the peers' environments")
    environments.add_argument("names", nargs="*", metavar="PEER", help="default: all")
    change = environments.add_mutually_exclusive_group()
    change.add_argument("--install", action="store_true")
    change.add_argument("--remove", action="store_true")
    environments.set_defaults(action=manage_peers)
    return parser.parse_args()


def measure_cases(arguments: argparse.Namespace) -> None:
    cores = count_cores()
    threads = cores if arguments.threads is None else arguments.threads
    if threads < 1 or (arguments.rounds is not None and arguments.rounds < 1):
        raise UsageError(f"found {threads} threads and {arguments.rounds} rounds, expected at least 1 of each")
    if cores == 1:
        say("this machine has one core: the harness and the tools share it, expect noise")
    if threads > cores:
        say(f"{threads} threads on {cores} cores: the threads wait for each other, expect slower tools")
    cases = choose_cases(CASES, arguments.group, arguments.case, arguments.tool)
    results = arguments.results or (QUICK_RESULTS if arguments.quick else RESULTS)
    run = start_run(threads, arguments.quick, arguments.rounds)
    run_cases(run, Bench(threads, arguments.quick), cases, results, arguments.again)
    say(f"results: {results}")


def write_report(arguments: argparse.Namespace) -> None:
    from benchmarks.report import MissingBlockError, write_report

    try:
        written = write_report(arguments.results, ROOT)
    except MissingBlockError as error:
        raise UsageError(str(error)) from None
    for path in written:
        print(path)


def list_cases(_arguments: argparse.Namespace) -> None:
    for case in CASES:
        print(f"{case.name:32} {', '.join(case.tools)}")


def manage_peers(arguments: argparse.Namespace) -> None:
    """Print, install or remove. Ends with 1 if a peer that was named to be installed cannot be."""
    missing = []
    for name in arguments.names or peers():
        if arguments.remove:
            remove(name)
            print(f"{name}: removed")
            continue
        found = install(name) if arguments.install else environment(name)
        size = "" if found.installed_bytes is None else f", {found.installed_bytes / 2**20:.0f} MiB"
        print(f"{name}: {found.reason or 'ready'}{size}", flush=True)
        if arguments.install and name in arguments.names and found.reason is not None:
            missing.append(name)
    if missing:
        logs = ", ".join(str((ENVIRONMENTS / name / "pip.log").relative_to(ROOT)) for name in missing)
        say(f"not installed: {', '.join(missing)}: check the network, read {logs}, and run the same command again")
        sys.exit(1)


def _fail(message: str) -> int:
    print(f"Error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
