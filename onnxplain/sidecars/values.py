"""Single values of a sidecar, checked: numbers, numbers per channel, sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from onnxplain.contract.expected import LARGEST_SIDE, MOST_CHANNELS
from onnxplain.sidecars.problem import UnusableError
from onnxplain.sidecars.surroundings import kind_of

_FRACTION = re.compile(r"\s*([0-9.eE+-]{1,32})\s*(?:/\s*([0-9.eE+-]{1,32}))?\s*")


def number(name: str, tree: Any) -> float:
    """A finite number. Raises UnusableError."""
    if isinstance(tree, bool) or not isinstance(tree, int | float) or not abs(tree) < 1e30:
        raise UnusableError(f"{name}: {_shown(tree)}", "a finite number")
    return float(tree)


def positive(name: str, tree: Any) -> float:
    """A number above 0. Raises UnusableError."""
    value = number(name, tree)
    if value <= 0:
        raise UnusableError(f"{name}: {value:g}", "a number above 0")
    return value


def fraction(name: str, tree: Any) -> float:
    """A number above 0, or a text such as ``1./255.``. Raises UnusableError."""
    if not isinstance(tree, str):
        return positive(name, tree)
    match = _FRACTION.fullmatch(tree)
    try:
        value = float(match[1]) / float(match[2] or 1) if match else math.nan
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if math.isnan(value):
        raise UnusableError(f"{name}: text that is no fraction", "a number, or a fraction such as 1.0/255.0")
    return positive(name, value)


def per_channel(name: str, tree: Any) -> tuple[float, ...]:
    """One number for all channels, or a list with one per channel. Raises UnusableError."""
    if not isinstance(tree, list | tuple):
        return (number(name, tree),)
    if not 1 <= len(tree) <= MOST_CHANNELS:
        raise UnusableError(f"{name}: {len(tree)} numbers", "one per channel")
    return tuple(number(name, value) for value in tree)


def divisors(name: str, tree: Any) -> tuple[float, ...]:
    """As `per_channel`, all above 0. Raises UnusableError."""
    values = per_channel(name, tree)
    for value in values:
        positive(name, value)
    return values


def whole(name: str, tree: Any, largest: int) -> int:
    """A whole number from 1 to `largest`. Raises UnusableError."""
    if isinstance(tree, bool) or not isinstance(tree, int) or not 1 <= tree <= largest:
        raise UnusableError(f"{name}: {_shown(tree)}", f"a whole number from 1 to {largest:,}")
    return tree


def size_hw(name: str, tree: Any, axes: str = "hw") -> tuple[int, int]:
    """Height and width, from a number, a list in the order `axes`, or {height, width}. Raises UnusableError."""
    if isinstance(tree, Mapping) and {"height", "width"} <= set(tree):
        sides = [tree["height"], tree["width"]]
    elif isinstance(tree, list | tuple) and len(tree) == 2:
        sides = list(tree if axes == "hw" else reversed(tree))
    elif isinstance(tree, int):
        sides = [tree, tree]
    else:
        raise UnusableError(f"{name}: {_shown(tree)}", "height and width")
    height, width = (whole(name, side, LARGEST_SIDE) for side in sides)
    return height, width


def flag(name: str, tree: Any) -> bool:
    """True or false. Raises UnusableError."""
    if not isinstance(tree, bool):
        raise UnusableError(f"{name}: {_shown(tree)}", "true or false")
    return tree


def _shown(tree: Any) -> str:
    """A short number as it is; of anything else only its kind, for a text may be long or hold control characters."""
    if isinstance(tree, int | float) and not isinstance(tree, bool) and abs(tree) < 10**9:
        return f"{tree:g}"
    return kind_of(tree)
