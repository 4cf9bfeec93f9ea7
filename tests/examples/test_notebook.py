"""The notebook of examples/, executed as it is shipped: each cell shows a picture or a table, and no error."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxplain
from onnxplain import Engine, GradCAM
from onnxplain.demo import IMAGES, MODEL

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
PHOTO = IMAGES / "4-on-grass.png"
# What the cells of code show, in their order.
SHOWN = ("table", "picture", "pictures", "picture", "table")
# A process of its own: the client brings an event loop and warnings.
EXECUTE = "from nbclient.cli import main; main()"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of each cell of code, the only output."""
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason="needs the packages of the group dev")
    folder = tmp_path_factory.mktemp("notebook")
    private = {name: str(folder / name) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    found = Path(onnxplain.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK), f"--output={folder / 'executed.ipynb'}", "--timeout=300"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **private, "PYTHONPATH": os.pathsep.join((str(found), *sys.path))},
    )
    assert result.returncode == 0, result.stderr
    executed = json.loads((folder / "executed.ipynb").read_text(encoding="utf-8"))
    code = [cell["outputs"] for cell in executed["cells"] if cell["cell_type"] == "code"]
    assert [len(each) for each in code] == [1] * len(SHOWN)
    assert {each["output_type"] for (each,) in code} == {"execute_result"}
    return [each["data"] for (each,) in code]


def decode(text: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def pictures_in(data: dict[str, Any]) -> list[np.ndarray]:
    """The pictures of an output: its own, or those in its HTML."""
    if "image/png" in data:
        return [decode(data["image/png"])]
    return [decode(text) for text in re.findall(r'src="data:image/png;base64,([^"]+)"', "".join(data["text/html"]))]


def test_every_cell_shows_what_it_should(outputs: list[dict[str, Any]]) -> None:
    for shown, data in zip(SHOWN, outputs, strict=True):
        found = pictures_in(data)
        assert len(found) == {"table": 0, "picture": 1, "pictures": 2}[shown]
        assert all(min(picture.shape[:2]) > 50 for picture in found)
        assert ("<table" in "".join(data.get("text/html", ""))) == (shown == "table")


def test_the_pictures_are_those_of_python(outputs: list[dict[str, Any]]) -> None:
    engine = Engine(MODEL)
    (one,) = pictures_in(outputs[1])
    np.testing.assert_array_equal(one, GradCAM(engine)(PHOTO).picture())
    expected = [explanation.picture() for explanation in GradCAM(engine)(PHOTO, target=["4", "9"])]
    for picture, own in zip(pictures_in(outputs[2]), expected, strict=True):
        np.testing.assert_array_equal(picture, own)


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert {cell["execution_count"] for cell in cells if cell["cell_type"] == "code"} == {None}
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
