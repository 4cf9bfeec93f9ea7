"""`.ci/browser` installs what these tests need, or says in one line why not. It never fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("bash", "dirname", "id", "rm", "timeout")
FAILS, WORKS, NOBODY = "exit 1", "exit 0", "echo 1000"
ALL = {"node": WORKS, "npm": WORKS, "chromium": WORKS}
# The programs of a machine by what they do, and what the script says there.
MACHINES = {
    "all is there": (ALL, "browser: the tests in a browser are run"),
    "no apt-get": ({}, "found neither nodejs npm chromium nor apt-get"),
    "no root": ({**ALL, "chromium": None, "apt-get": WORKS, "id": NOBODY}, "found no chromium, and only root"),
    "apt without network": ({"npm": WORKS, "apt-get": FAILS}, "apt-get cannot install nodejs chromium"),
    "apt works": ({**ALL, "chromium": None, "google-chrome": None, "apt-get": WORKS}, "are run"),
    "Chromium does not start": ({**ALL, "node": FAILS}, "Chromium does not start"),
    "npm without network": ({**ALL, "npm": FAILS}, "npm cannot install playwright-core"),
}


@pytest.mark.skipif(os.name == "nt", reason="a script for bash")
@pytest.mark.parametrize("name", MACHINES)
def test_what_the_script_says(name: str, tmp_path: Path) -> None:
    programs, says = MACHINES[name]
    for program in NEEDED:
        (tmp_path / program).symlink_to(shutil.which(program) or pytest.fail(f"no {program}"))
    for program, does in {"id": "echo 0", **programs}.items():
        (tmp_path / program).unlink(missing_ok=True)
        if does is not None:
            (tmp_path / program).write_text(f"#!/bin/sh\n{does}\n")
            (tmp_path / program).chmod(0o755)
    script = ["bash", str(ROOT / ".ci" / "browser")]
    packages = tmp_path / "node_modules" / "playwright-core"
    packages.mkdir(parents=True)
    places = {"PATH": str(tmp_path), "PLAYWRIGHT_CORE": str(tmp_path)}
    result = subprocess.run(script, capture_output=True, text=True, env=places, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1 and says in result.stdout
    # Without playwright-core the tests in a browser skip.
    assert packages.exists() == (name != "Chromium does not start")
