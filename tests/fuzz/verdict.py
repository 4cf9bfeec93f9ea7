"""What is wrong with the end of a process: the faults that the fuzzer counts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.nursery import CPU_SECONDS, GIGABYTE, Ending

MOST_MEMORY = 2 * GIGABYTE
MOST_MESSAGE = 2000
STATUSES = (0, 1, 2)
# C0 but for line ends, C1, and characters that change the direction of text.
_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def faults(ending: Ending, errors: int, left: Sequence[Path] = ()) -> list[str]:
    """The names of the faults. `errors`: lines on standard error that are right at most; `left`: new files."""
    lines = ending.stderr.splitlines()
    found = {
        "hang": ending.hung or ending.seconds > CPU_SECONDS,
        "signal": ending.signal is not None and not ending.hung,
        "traceback": "Traceback (most recent call last)" in ending.stderr,
        "internal error": "internal error (" in ending.stderr,
        "memory": ending.memory > MOST_MEMORY,
        "status": ending.status is not None and ending.status not in STATUSES,
        "silent": ending.status in (1, 2) and not lines,
        "lines": len(lines) > errors,
        "long": any(len(line) > MOST_MESSAGE for line in lines),
        "control": any(_is_control(character) for character in ending.stdout + ending.stderr),
        "left behind": ending.status not in (0, 1) and bool(left),
    }
    return [name for name, is_found in found.items() if is_found]


def _is_control(character: str) -> bool:
    return character in _BIDIRECTIONAL or (unicodedata.category(character) == "Cc" and character not in "\n\t")
