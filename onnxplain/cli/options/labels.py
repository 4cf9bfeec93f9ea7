"""Reading a file of class labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onnxplain.errors import OnnxplainError

_EXPECTED = "expected one label per line, or JSON: a list of labels or an object from index to label"


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a text file (one per line) or a JSON file (a list, or an object {index: label}), by index.

    Raises OnnxplainError if the file cannot be read, has no labels, or has no label for some index.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OnnxplainError(f"{path}: cannot read the labels ({error.strerror}): check the path") from error
    except UnicodeDecodeError as error:
        raise OnnxplainError(f"{path}: found bytes that are not UTF-8 text, {_EXPECTED}") from error
    labels = _from_json(path, text) if text.lstrip().startswith(("[", "{")) else _from_lines(path, text)
    if not labels:
        raise OnnxplainError(f"{path}: found no label, {_EXPECTED}")
    return labels


def _from_lines(path: Path, text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.strip().splitlines()]
    if "" in lines:
        # Skipping an empty line would shift all labels after it.
        raise OnnxplainError(f"{path}: found empty line {lines.index('') + 1}, {_EXPECTED}")
    return tuple(lines)


def _from_json(path: Path, text: str) -> tuple[str, ...]:
    try:
        tree: Any = json.loads(text)
    except ValueError as error:
        raise OnnxplainError(f"{path}: found broken JSON ({error}), {_EXPECTED}") from error
    if isinstance(tree, dict):
        indices = {int(key): label for key, label in tree.items() if key.isdecimal()}
        missing = [index for index in range(len(tree)) if index not in indices]
        if missing:
            raise OnnxplainError(f"{path}: found no label for index {missing[0]} of {len(tree)}, {_EXPECTED}")
        tree = [indices[index] for index in range(len(tree))]
    if not all(isinstance(label, str) for label in tree):
        raise OnnxplainError(f"{path}: found labels that are not text, {_EXPECTED}")
    return tuple(tree)
