"""JSON as bytes, whatever text is in it."""

from __future__ import annotations

import json
import re
from typing import Any

CONTROLS = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""What a terminal or an editor could obey, as a range of a regular expression: DEL and C1, line separators, controls of
writing direction, and surrogates, which have no UTF-8. JSON itself escapes the other control characters."""

JSON_ERRORS = "backslashreplace"
"""How text that has no UTF-8 is written in other files than JSON."""

_CONTROL = re.compile(f"[{CONTROLS}]")


def json_bytes(tree: Any, indent: int | None = None) -> bytes:
    """The value as UTF-8 JSON that ends in a line break. Raises ValueError for NaN and infinity."""
    return f"{json_text(tree, indent)}\n".encode()


def json_text(tree: Any, indent: int | None = None) -> str:
    """The value as JSON. Controls are JSON's own escapes, as in ``\\u202e``: a reader gets the text as it was.

    A file name that is not UTF-8 holds surrogates (PEP 383): ``os.fsencode`` of what a reader gets is the name. Raises
    ValueError for NaN and infinity.
    """
    text = json.dumps(tree, indent=indent, ensure_ascii=False, allow_nan=False)
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
