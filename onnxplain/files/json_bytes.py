"""JSON as bytes, whatever text is in it."""

from __future__ import annotations

import json
from typing import Any

JSON_ERRORS = "backslashreplace"
"""How text that has no UTF-8 is encoded. A file name that is not UTF-8 is such text (surrogates, PEP 383): each byte
becomes JSON's own escape, as in ``\\udcff``, so that ``os.fsencode`` of what a reader gets is the name."""


def json_bytes(tree: Any, indent: int | None = None) -> bytes:
    """The value as UTF-8 JSON that ends in a line break. Raises ValueError for NaN and infinity."""
    text = json.dumps(tree, indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", JSON_ERRORS) + b"\n"
