"""Make names unique, and short enough for a file system."""

from __future__ import annotations

import os
from collections.abc import Sequence


def unique_names(names: Sequence[str]) -> list[str]:
    """The same names, but a repeated name gets ``-2``, ``-3`` … at its end.

    Upper and lower case count as equal, because many file systems do not distinguish them.
    """
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.casefold())
        unique.append(candidate)
    return unique


def shortened(name: str, most_bytes: int) -> str:
    """The beginning of a name that takes at most so many bytes in a file system."""
    while len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name
