"""XML with line numbers and without entities.

The standard library's ElementTree does not keep line numbers, and it expands entities, which can fill the memory. This
module uses expat directly and refuses document types: entities can only be declared there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from onnxplain.data.formats.annotation_text import read_bytes
from onnxplain.data.problem import Problem, ProblemError
from onnxplain.runtime.image import one_line

_DEEPEST = 100


@dataclass
class Element:
    """A tag, the line where it starts, its own text and its children."""

    tag: str
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, tag: str) -> Element | None:
        """The first child with that tag; None if there is none."""
        return next((child for child in self.children if child.tag == tag), None)

    def find_all(self, tag: str) -> list[Element]:
        """All children with that tag."""
        return [child for child in self.children if child.tag == tag]

    def text_of(self, tag: str) -> str:
        """The stripped text of the first child with that tag; empty if there is none."""
        child = self.find(tag)
        return "" if child is None else child.text.strip()


def read_xml(path: Path) -> Element:
    """The root of an XML file. Raises ProblemError for a file that is not XML or has a document type."""
    document = Element("", 0)
    open_elements = [document]
    parser = expat.ParserCreate()

    # Expat gives the text of an element in pieces, one per line or more.
    texts: list[list[str]] = [[]]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(open_elements) > _DEEPEST:
            message = f"found elements nested over {_DEEPEST} deep, expected a Pascal VOC annotation"
            raise ProblemError(Problem(path, parser.CurrentLineNumber, message))
        element = Element(tag, parser.CurrentLineNumber)
        texts.append([])
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(tag: str) -> None:
        open_elements.pop().text = "".join(texts.pop())

    def add_text(text: str) -> None:
        texts[-1].append(text)

    def refuse(*declaration: object) -> None:
        message = "found a document type (<!DOCTYPE …>), expected XML without one: remove it, its entities are unsafe"
        raise ProblemError(Problem(path, parser.CurrentLineNumber, message))

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = add_text, refuse
    try:
        parser.Parse(read_bytes(path), True)
    except expat.ExpatError as error:
        message = f"found invalid XML ({expat.ErrorString(error.code)}), expected a Pascal VOC annotation"
        raise ProblemError(Problem(path, error.lineno, message)) from None
    except (LookupError, ValueError) as error:  # an encoding that Python does not know, or that expat cannot take
        raise ProblemError(Problem(path, 1, f"cannot decode XML ({one_line(error)}): convert it to UTF-8")) from None
    return document.children[0]
