"""Problems in a data set, each with its file and line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxplain.errors import OnnxplainError


@dataclass(frozen=True)
class Problem:
    """An image, an object or a whole annotation file that was left out, and why.

    `path`: the file with the problem. `line`: its line, counted from 1; None if a line says nothing (images, and COCO,
    whose message names the entry). `str(problem)` is one line, ``path:line: message``.
    """

    path: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.message}"


class ProblemError(OnnxplainError):
    """A file that cannot be used at all; `problem` says which one and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Place:
    """Where an annotation is: file, line (from 1), or the name of the entry in a file without lines."""

    path: Path
    line: int | None = None
    entry: str = ""

    def problem(self, message: str) -> Problem:
        """A problem at this place."""
        return Problem(self.path, self.line, f"{self.entry}: {message}" if self.entry else message)
