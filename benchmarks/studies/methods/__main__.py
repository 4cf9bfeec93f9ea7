"""`python -m benchmarks.studies.methods` measures; with --write it renders what was measured."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.client import ROOT
from benchmarks.studies.methods.models import MODELS
from benchmarks.studies.methods.run import run_study
from benchmarks.studies.methods.ways import all_ways

RESULTS = ROOT / "runs" / "methods" / "results.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [model.name for model in MODELS]
    parser.add_argument("--models", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="measure these methods alone")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing after this time")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--write", action="store_true", help="write docs/method_study.md and its pictures instead")
    arguments = parser.parse_args()
    if arguments.write:
        from benchmarks.studies.methods.page import write_study

        write_study(arguments.results, ROOT / "docs")
        return
    ways = [way for way in all_ways() if not arguments.only or {way.name, way.method} & set(arguments.only)]
    run_study(ways, arguments.results, arguments.models, arguments.minutes)


if __name__ == "__main__":
    main()
