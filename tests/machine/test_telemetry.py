"""ONNX Runtime writes no device id and no events: each case is a process with a home folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onnxplain.demo import MODEL
from onnxplain.machine.onnx_runtime import TELEMETRY_VARIABLE

_HOMES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "ONNXPLAIN_CACHE")
_ENGINE = f"from onnxplain import Engine; Engine({str(MODEL)!r})"
_COMMAND = f"from onnxplain.cli.main import cli; cli(['inspect', {str(MODEL)!r}])"
_SHOW = f"; import os; print(os.environ[{TELEMETRY_VARIABLE!r}])"


def run_at_home(home: Path, code: str, **more: str) -> str:
    """Run Python with `home` as the home folder; returns its standard output."""
    kept = {name: value for name, value in os.environ.items() if name not in (*_HOMES, TELEMETRY_VARIABLE)}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**kept, "HOME": str(home), **more},
    )
    return result.stdout


@pytest.mark.parametrize("code", [_ENGINE, _COMMAND], ids=["engine", "command"])
def test_the_home_folder_stays_empty(code: str, tmp_path: Path) -> None:
    run_at_home(tmp_path, code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("stated", "expected"), [({}, "1"), ({TELEMETRY_VARIABLE: "0"}, "0")], ids=["unset", "set"])
def test_a_value_that_the_user_set_is_kept(stated: dict[str, str], expected: str, tmp_path: Path) -> None:
    code = "from onnxplain.machine.onnx_runtime import import_onnxruntime; import_onnxruntime()" + _SHOW
    assert run_at_home(tmp_path, code, **stated).strip() == expected
