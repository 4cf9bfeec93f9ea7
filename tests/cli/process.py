"""Running Python in a process where some packages are not installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_PRELUDE = """
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = {arguments!r}
if sys.argv[0] == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""

# What the extras beside `cpu` bring.
BEYOND_CPU = ("torch", "onnx", "onnx_ir", "onnxscript", "sklearn", "skimage", "supervision", "torchvision")


def run_without(
    missing: Sequence[str], *arguments: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """``python ARGUMENTS``, a script or ``-m module``, where the packages in `missing` cannot be imported."""
    code = _PRELUDE.format(missing=set(missing), arguments=list(arguments))
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False, timeout=120
    )
