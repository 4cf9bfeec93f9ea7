"""A generated part of a hand-written page, between two comments that Markdown does not show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class MissingBlockError(ValueError):
    """A page does not have the two comments."""


@dataclass(frozen=True)
class Block:
    """The place for a generated text: the text before and after it, with both comments."""

    path: Path
    before: str
    after: str

    def fill(self, body: str) -> None:
        self.path.write_text(f"{self.before}\n{body.strip()}\n\n{self.after}", encoding="utf-8")


def find_block(path: Path, name: str) -> Block:
    """The place between `<!-- name -->` and `<!-- /name -->`; a page without it is refused."""
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, found, rest = path.read_text(encoding="utf-8").partition(opening)
    _, closed, after = rest.partition(closing)
    if not found or not closed:
        lines = f"{opening.strip()} and {closing.strip()}"
        raise MissingBlockError(f"found no {lines} in {path.name}: put both lines where the report belongs")
    return Block(path, before + opening, closing + after)
