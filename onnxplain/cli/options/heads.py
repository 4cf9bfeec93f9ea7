"""Options about what a model answers with, and about its inputs besides the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from onnxplain.cli.options.gather import gather, stack
from onnxplain.contract import GivenLabels, StatedHead, read_stated
from onnxplain.errors import OnnxplainError
from onnxplain.sidecars.labels import read_labels


@dataclass(frozen=True)
class StatedAnswers:
    """What the options say: heads, files of labels (``FILE`` or ``HEAD=FILE``), values of other inputs."""

    heads: tuple[StatedHead, ...] = ()
    labels_files: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> GivenLabels | None:
        """The labels of the default head, or by head; None: those of the model. Raises OnnxplainError."""
        plain = [file for file in self.labels_files if "=" not in file or Path(file).exists()]
        named = [file.split("=", 1) for file in self.labels_files if file not in plain]
        if len(plain) > 1 or (plain and named):
            raise OnnxplainError(
                f"--labels: found {', '.join(self.labels_files)}, expected one FILE, or HEAD=FILE for each head"
            )
        if named:
            return {head: read_labels(Path(file)) for head, file in named}
        return read_labels(Path(plain[0])) if plain else None

    def read_inputs(self) -> dict[str, Any]:
        """The values of other inputs by name; files are read. Raises OnnxplainError."""
        return {name: _read_array(given) if isinstance(given, Path) else given for name, given in self.inputs.items()}

    @property
    def for_exporters(self) -> dict[str, Any]:
        """What is given, under the names of `instrument`'s parameters."""
        given = {"heads": self.heads, "inputs": self.read_inputs(), "labels": self.labels}
        return {name: value for name, value in given.items() if value}


def _read_heads(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[StatedHead, ...]:
    heads = tuple(read_stated(value) for value in values)
    # One head may be stated twice: its kind, and that it is the default.
    stated = [(head.name, head.kind is None) for head in heads]
    for name, plain in stated:
        if not name or stated.count((name, plain)) > 1:
            raise click.BadParameter(f"found {name!r}, expected NAME or NAME:KIND, each name once")
    return heads


def _read_inputs(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """``NAME=VALUE`` or ``NAME=FILE.npy`` → numbers or paths by name."""
    found: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not (name and equals and text) or name in found:
            raise click.BadParameter(f"found {value!r}, expected NAME=VALUE or NAME=FILE.npy, each name once")
        found[name] = Path(text) if text.endswith(".npy") else _read_numbers(text)
    return found


def _read_array(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no array of numbers"
        raise OnnxplainError(
            f"--input: found {path}, which cannot be read ({reason}), expected a NumPy file"
        ) from error


def _read_numbers(text: str) -> Any:
    """A number, true, false, or numbers separated by commas."""
    words = {"true": True, "false": False}
    try:
        numbers = [words[part.lower()] if part.lower() in words else _number(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"found {text!r}, expected a number, true, false, numbers separated by commas, or FILE.npy"
        ) from None
    return numbers if "," in text else numbers[0]


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


labels_option = click.option(
    "--labels",
    "labels_files",
    multiple=True,
    metavar="[HEAD=]FILE",
    help="Labels: a text file with one label per line, or JSON (a list, a list of {index, name}, or an object "
    "{index: label}). They belong to the default head; HEAD=FILE names another one, and may be given several times.",
)
answer_options = stack(
    click.option(
        "--head",
        "heads",
        multiple=True,
        callback=_read_heads,
        metavar="NAME[:KIND]",
        help="For a file that is not instrumented: what an output means, where its graph does not say it: classes, "
        "labels, values, box, embedding, mask; or none. NAME alone is the head that is explained by default, in any "
        "file. May be given several times.",
    ),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        callback=_read_inputs,
        metavar="NAME=VALUE|FILE.npy",
        help="The value of an input besides the image: a number, numbers separated by commas, or a NumPy file. May be "
        "given several times. Sizes of the image fill themselves.",
    ),
    labels_option,
    gather("answers", StatedAnswers),
)
"""Give a command these options; it receives them as one `StatedAnswers` called `answers`."""
