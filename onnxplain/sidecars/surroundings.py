"""The metadata of a model and the files beside it, read within bounds."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from onnxplain.sidecars.problem import UnusableError

MOST_BYTES = 8 * 2**20
# PyYAML reads about 100 kB per second, and a file with 1,000 labels has 30 kB.
MOST_YAML_BYTES = 2**18
MOST_LITERAL_CHARACTERS = 2**21
# transformers.js keeps the models in a folder of this name, and the configuration one folder higher:
# https://huggingface.co/docs/transformers.js/custom_usage
_FOLDER_OF_MODELS = "onnx"


@dataclass(frozen=True)
class Surroundings:
    """A model's file and its ``metadata_props``."""

    model_path: Path
    metadata_props: Mapping[str, str]

    def find(self, *names: str) -> Path | None:
        """The first of these files beside the model, or one folder higher if the model's folder is called onnx."""
        folder = self.model_path.absolute().parent
        folders = [folder, folder.parent] if folder.name == _FOLDER_OF_MODELS else [folder]
        paths = (each / name for each in folders for name in names)
        return next((path for path in paths if path.is_file()), None)


def load_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The UTF-8 text of a file. Raises UnusableError for a file that is too large, or no text."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise UnusableError(f"a file that cannot be read ({error.strerror})", "a text file") from error
    if len(content) > most_bytes:
        raise UnusableError(f"more than {most_bytes:,} bytes", "a smaller file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableError("bytes that are not UTF-8 text", "a text file") from error


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises UnusableError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"broken JSON ({_one_line(error)})", "JSON") from error


def parse_literal(text: str) -> Any:
    """The value of a JSON text or of a Python literal, as ``str(dict)`` writes it. Raises UnusableError."""
    if len(text) > MOST_LITERAL_CHARACTERS:
        raise UnusableError(f"more than {MOST_LITERAL_CHARACTERS:,} characters", "a shorter text")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # An unknown escape sequence is not worth a warning about our own code.
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise UnusableError("text that is neither JSON nor a Python literal", "one of them") from error


def load_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UnusableError."""
    return as_object(parse_json(load_text(path)))


def load_yaml_object(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UnusableError, also where PyYAML is not installed."""
    if find_spec("yaml") is None:
        raise UnusableError(
            "YAML, but the package pyyaml is not installed",
            "it: run pip install pyyaml (the extra `train` contains it)",
        )
    import yaml

    text = load_text(path, MOST_YAML_BYTES)
    try:
        return as_object(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UnusableError("broken YAML", "YAML") from error


def as_object(tree: Any) -> dict[str, Any]:
    """The tree, if it is an object whose keys are text. Raises UnusableError."""
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UnusableError(f"{kind_of(tree)} where an object belongs", "an object with names as keys")
    return tree


def kind_of(tree: Any) -> str:
    """What a value is, in a word."""
    if tree is None:
        return "nothing"
    words = {bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return words.get(type(tree), f"a {type(tree).__name__}")


def _one_line(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0][:100]
