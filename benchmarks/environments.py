"""Each peer's Python: a virtual environment of its own under runs/peers, built from the recipe in its folder.

benchmarks/peers/NAME/worker.py          answers the harness
benchmarks/peers/NAME/requirements.txt   every package of the environment, pinned
benchmarks/peers/NAME/recipe.toml        optional, see `Recipe`
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.client import FOLDER, ROOT

PEERS = FOLDER / "peers"
SHARED = PEERS / "shared"
ENVIRONMENTS = ROOT / "runs" / "peers"
INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils")


class UnknownPeerError(ValueError):
    """No peer has this name."""


@dataclass(frozen=True)
class Recipe:
    """`recipe.toml`: how an environment differs from a plain installation of its requirements.

    `statement` (key ``import``): what a user of the tool imports; run after the installation as a check, with
    peers/shared on the path. `product`: the worker runs in the harness's own Python; requirements, if any, are only
    installed to measure their size. `own`: the tool is onnxplain from this checkout, together with other packages.
    `pip_options`: for the requirements. `beside`: packages that only the benchmark needs, for example to build the
    networks; they are installed without their dependencies, after the size is measured.
    """

    statement: str | None = None
    product: bool = False
    own: bool = False
    pip_options: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """A peer's Python. `reason`: why it cannot run, in one line. `installed_bytes`: size of the packages users install.

    `own`: it imports onnxplain from this checkout; other tools must not see the checkout.
    """

    name: str
    python: Path
    worker: Path
    statement: str | None
    own: bool = False
    installed_bytes: int | None = None
    reason: str | None = None


def peers() -> tuple[str, ...]:
    """All peers: folders with a worker."""
    return tuple(sorted(path.parent.name for path in PEERS.glob("*/worker.py")))


def environment(name: str) -> Environment:
    """The environment in its current state; installs nothing."""
    recipe = read_recipe(name)
    folder = ENVIRONMENTS / name
    python = Path(sys.executable) if recipe.product else _python_of(folder)
    found = Environment(name, python, PEERS / name / "worker.py", recipe.statement, recipe.product or recipe.own)
    record_path = folder / "environment.json"
    record = json.loads(record_path.read_text(encoding="utf-8")) if record_path.exists() else None
    if record is not None and record["recipe"] == _fingerprint(name, recipe):
        return replace(found, installed_bytes=record["installed_bytes"], reason=record["reason"])
    if recipe.product:
        return found
    state = "not installed" if record is None else "its recipe has changed since it was installed"
    return replace(found, reason=f"{state}: python -m benchmarks peers --install {name}")


def install(name: str) -> Environment:
    """Build the environment if it is missing; a failure becomes its `reason`, with details in pip.log."""
    recipe = read_recipe(name)
    if not _requirements(name).exists():
        return environment(name)
    found = environment(name)
    if found.installed_bytes is not None and found.reason is None:
        return found
    folder = ENVIRONMENTS / name
    remove(name)
    folder.mkdir(parents=True)
    size, reason = None, None
    try:
        size = _build(name, recipe, folder)
    except subprocess.CalledProcessError as error:
        reason = f"not installable here: {_last_words(error.output)}"
    record = {"recipe": _fingerprint(name, recipe), "installed_bytes": size, "reason": reason}
    (folder / "environment.json").write_text(json.dumps(record), encoding="utf-8")
    return environment(name)


def remove(name: str) -> None:
    """Delete the environment; the recipe stays."""
    read_recipe(name)
    if (ENVIRONMENTS / name).exists():
        shutil.rmtree(ENVIRONMENTS / name)


def read_recipe(name: str) -> Recipe:
    """The recipe of a peer. Raises UnknownPeerError."""
    if name not in peers():
        raise UnknownPeerError(f"found peer {name!r}, expected one of {', '.join(peers())}")
    path = PEERS / name / "recipe.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return Recipe(
        table.pop("import", None),
        table.pop("product", False),
        table.pop("own", False),
        tuple(table.pop("pip_options", ())),
        tuple(table.pop("beside", ())),
        **table,
    )


def _build(name: str, recipe: Recipe, folder: Path) -> int:
    """Make the environment; returns the bytes of the packages that the tool's users need."""
    log, python, requirements = folder / "pip.log", _python_of(folder), _requirements(name)
    _call([sys.executable, "-m", "venv", folder], log)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    if any(line.startswith("torch==") for line in requirements.read_text(encoding="utf-8").splitlines()):
        # First, with its own dependencies: they depend on the wheel (CPU or CUDA).
        _call([*pip, "--constraint", requirements, "torch"], log)
    _call([*pip, *recipe.pip_options, "--requirement", requirements], log)
    size = measure_packages(folder)
    if recipe.beside:
        _call([*pip, "--no-deps", *recipe.beside], log)
    if recipe.statement is not None and not recipe.product:
        _call([python, "-c", recipe.statement], log, path=ROOT if recipe.own else SHARED)
    return size


def measure_packages(folder: Path) -> int:
    """Bytes of all packages in an environment, without pip and setuptools."""
    total = 0
    for site_packages in folder.glob("[lL]ib/**/site-packages"):
        for entry in site_packages.iterdir():
            if entry.name.partition("-")[0] not in INSTALLERS:
                files = entry.rglob("*") if entry.is_dir() else (entry,)
                total += sum(path.stat().st_size for path in files if path.is_file())
    return total


def _call(command: Sequence[str | Path], log: Path, path: Path = SHARED) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with log.open("a", encoding="utf-8") as file:
        file.write(done.stdout)
    done.check_returncode()


def _last_words(output: str) -> str:
    """pip's first error, else the last line (the exception in a traceback)."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines[-1:] or ["no message"])[0]


def _fingerprint(name: str, recipe: Recipe) -> str:
    """A hash of everything that decides the content of the environment."""
    sources = [_requirements(name), *((ROOT / "constraints.txt", ROOT / "pyproject.toml") if recipe.product else ())]
    texts = [path.read_text(encoding="utf-8") if path.exists() else "" for path in sources]
    parts = (sys.version_info[:2], recipe.pip_options, recipe.beside, texts)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _requirements(name: str) -> Path:
    return PEERS / name / "requirements.txt"


def _python_of(folder: Path) -> Path:
    return folder / "Scripts" / "python.exe" if sys.platform == "win32" else folder / "bin" / "python"
