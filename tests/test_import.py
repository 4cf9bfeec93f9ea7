"""Importing the package stays cheap: each import runs in a fresh interpreter, which lists what it loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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
