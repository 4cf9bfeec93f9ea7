"""Importing the package stays cheap: each import runs in a fresh interpreter, which lists what it loaded."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

import onnxplain
from onnxplain import explainers, runtime

HEAVY = {"torch", "onnx", "onnx_ir", "onnxscript", "scipy", "sklearn", "skimage", "rich", "click", "supervision"}
RUNTIME = {"numpy", "cv2", "PIL", "onnxruntime"}


def modules_after(statement: str) -> set[str]:
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import onnxplain", HEAVY | RUNTIME),
        ("from onnxplain import UnsupportedError", HEAVY | RUNTIME),
        ("from onnxplain import RISE, GradCAM, Explanation", HEAVY | {"onnxruntime"}),
        ("import onnxplain.contract", HEAVY | RUNTIME),
        ("import onnxplain.runtime", HEAVY | {"onnxruntime"}),
        ("from onnxplain import Engine, load_image, explain", HEAVY | {"onnxruntime"}),
        ("import onnxplain.explainers", HEAVY | {"onnxruntime"}),
    ],
)
def test_imports_are_light(statement, forbidden):
    assert not modules_after(statement) & forbidden


def test_the_check_can_fail():
    assert "onnxruntime" in modules_after("import onnxruntime")


def test_public_names():
    code = (
        "import onnxplain\n"
        "assert set(onnxplain.__all__) <= set(dir(onnxplain))\n"
        "[getattr(onnxplain, name) for name in onnxplain.__all__]\n"
        "assert onnxplain.__version__\n"
        "try: onnxplain.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "module 'onnxplain' has no attribute 'nothing'"


# Names of other libraries in docstrings.
FOREIGN = {"CenterCrop", "Resize"}


def public_docstrings() -> Iterator[tuple[str, str]]:
    """Name and docstring of every public class, function, method and property."""
    for name in onnxplain.__all__:
        value = getattr(onnxplain, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            yield name, inspect.getdoc(value) or ""
        if inspect.isclass(value):
            for part, member in inspect.getmembers(value):
                if not part.startswith("_") and (callable(member) or isinstance(member, property)):
                    yield f"{name}.{part}", inspect.getdoc(member) or ""


def test_what_public_docstrings_name_can_be_imported():
    named = {(word, where) for where, text in public_docstrings() for word in re.findall(r"(?<!`)`([A-Z]\w*)", text)}
    assert len(named) > 10
    assert {pair for pair in named if pair[0] not in (*onnxplain.__all__, *FOREIGN)} == set()


def test_every_name_of_the_packages_is_a_name_of_onnxplain():
    for package in (explainers, runtime):
        assert set(package.__all__) <= set(onnxplain.__all__)
        assert all(getattr(package, name) is getattr(onnxplain, name) for name in package.__all__)
