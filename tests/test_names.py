"""One name, one meaning: no public name is defined at the top of two modules of the package."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import onnxplain

PACKAGE = Path(onnxplain.__file__).parent

# Name → why it may stand in two modules.
EXCEPTIONS = {
    "evaluate": "the command and the library call that it makes",
    "explain": "the command and the library call that it makes",
    "export": "the command and the library call that it makes",
    "instrument": "the command and the library call that it makes",
    "methods": "the command and the library call of the same content",
    "verify": "the command that repeats a run; the checks before a file is written",
    "softmax": "scores from logits; the gradient rule of the operator Softmax",
    "split": "a data set into parts; the gradient rule of the operator Split",
    "pad": "masks up to a whole batch; the gradient rule of the operator Pad",
    "gather": "options into a dataclass; the gradient rule of the operator Gather",
    "evaluating": "exporters and training both need it, and neither may import the other",
    "FIRST_SOFTMAX_OF_ONE_AXIS": "the checks share no constant with what they check",
}


def defined(module: ast.Module) -> set[str]:
    """The public names of classes, functions and assignments at the top of a module."""
    names: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def modules_of_names(folder: Path) -> dict[str, list[str]]:
    """Where each name is defined, as paths in the folder."""
    found = defaultdict(list)
    for path in sorted(folder.rglob("*.py")):
        for name in defined(ast.parse(path.read_text(encoding="utf-8"))):
            found[name].append(path.relative_to(folder).as_posix())
    return found


def test_no_name_is_defined_twice() -> None:
    twice = {name: paths for name, paths in modules_of_names(PACKAGE).items() if len(paths) > 1}
    unexpected = {name: paths for name, paths in twice.items() if name not in EXCEPTIONS}
    assert not unexpected, "the same content: import it from one place; other content: give it another name"


def test_every_exception_is_needed() -> None:
    found = modules_of_names(PACKAGE)
    assert [name for name in EXCEPTIONS if len(found.get(name, ())) < 2] == []


def test_names_of_every_kind_are_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("A, (B, _C) = 1, (2, 3)\nD: int = 4\ndef e(): F = 5\nclass G: H = 6\nI = A\n")
    (tmp_path / "two.py").write_text("from one import A\nasync def e(): pass\n")
    found = modules_of_names(tmp_path)
    assert set(found) == {"A", "B", "D", "e", "G", "I"}
    assert found["e"] == ["one.py", "two.py"]
    assert found["A"] == ["one.py"]
