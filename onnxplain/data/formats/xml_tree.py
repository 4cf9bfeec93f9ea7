"""XML with line numbers, and without what makes XML dangerous.

The standard library's ElementTree forgets lines and expands entities; here expat is asked directly, and a document
type, the only place where entities can be declared, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from onnxplain.data.formats.annotation_text import read_bytes
from onnxplain.data.problem import Problem, ProblemError
from onnxplain.runtime.image import one_line


@dataclass
class Element:
    """A tag, the line where it starts, the text right inside it and its children."""

    tag: str
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, tag: str) -> Element | None:
        """The first child of that tag, else None."""
        return next((child for child in self.children if child.tag == tag), None)

    def find_all(self, tag: str) -> list[Element]:
        """The children of that tag."""
        return [child for child in self.children if child.tag == tag]

    def text_of(self, tag: str) -> str:
        """The stripped text of the first child of that tag, empty where there is none."""
        child = self.find(tag)
        return "" if child is None else child.text.strip()


def read_xml(path: Path) -> Element:
    """The root of an XML file. Raises ProblemError for a file that is not XML, or that declares a document type."""
    document = Element("", 0)
    open_elements = [document]
    parser = expat.ParserCreate()

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, parser.CurrentLineNumber)
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(tag: str) -> None:
        open_elements.pop()

    def add_text(text: str) -> None:
        open_elements[-1].text += text

    def refuse(*declaration: object) -> None:
        message = "found a document type (<!DOCTYPE …>), expected plain XML: entities can hide a bomb, remove it"
        raise ProblemError(Problem(path, parser.CurrentLineNumber, message))

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = add_text, refuse
    try:
        parser.Parse(read_bytes(path), True)
    except expat.ExpatError as error:
        message = f"found no XML ({expat.ErrorString(error.code)}), expected a Pascal VOC annotation"
        raise ProblemError(Problem(path, error.lineno, message)) from None
    except (LookupError, ValueError) as error:  # an encoding that Python does not know, or that expat cannot take
        raise ProblemError(Problem(path, 1, f"found no XML that can be decoded ({one_line(error)})")) from None
    return document.children[0]
