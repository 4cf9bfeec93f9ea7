"""Reasons why another tool is ahead or a goal is missed: rows of remarks.toml, by case and tool."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

REMARKS = Path(__file__).with_name("remarks.toml")
UNEXPLAINED = "no reason found yet"


@dataclass(frozen=True)
class Remark:
    """A reason, for the cases and tools that the two patterns name."""

    case: str
    tool: str
    reason: str


def read_remarks(path: Path = REMARKS) -> tuple[Remark, ...]:
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("remark", [])
    return tuple(Remark(**entry) for entry in entries)


def find_reason(remarks: tuple[Remark, ...], case: str, tool: str) -> str:
    """The reason in the first row that matches, else UNEXPLAINED."""
    for remark in remarks:
        if fnmatchcase(case, remark.case) and fnmatchcase(tool, remark.tool):
            return remark.reason
    return UNEXPLAINED
