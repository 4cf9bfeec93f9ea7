"""The peers' recipes, all of them, and what becomes of an environment that is missing, stale or cannot be built."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import environments
from benchmarks.environments import UnknownPeerError, environment, install, measure_packages, peers, read_recipe, remove

PINNED = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+]+")


@pytest.mark.parametrize("name", peers())
def test_recipe(name: str) -> None:
    recipe = read_recipe(name)
    requirements = environments.PEERS / name / "requirements.txt"
    assert recipe.product or requirements.exists()
    if recipe.statement is not None:
        compile(recipe.statement, name, "exec")
    pinned = [*recipe.beside, *(requirements.read_text().split("\n")[:-1] if not recipe.product else ())]
    assert [line for line in pinned if not PINNED.fullmatch(line)] == []
    assert f'"{name}"' in (environments.PEERS / name / "worker.py").read_text()


@pytest.mark.parametrize("action", [environment, install, remove, read_recipe])
def test_an_unknown_peer_is_refused(action) -> None:
    with pytest.raises(UnknownPeerError, match=r"^found peer 'capt', expected one of captum, dianna, .*xplique$"):
        action("capt")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One peer, `tool`, of which nothing is installed."""
    for name in ("PEERS", "ENVIRONMENTS"):
        monkeypatch.setattr(environments, name, tmp_path / name)
    (tmp_path / "PEERS" / "tool").mkdir(parents=True)
    (tmp_path / "PEERS" / "tool" / "worker.py").touch()
    write_recipe(tmp_path, 'import = "import tool"\nbeside = ["other==2"]\n')
    (tmp_path / "PEERS" / "tool" / "requirements.txt").write_text("torch==2.13.0\ntool==1.0\n")
    return tmp_path


def write_recipe(folders: Path, text: str) -> None:
    (folders / "PEERS" / "tool" / "recipe.toml").write_text(text)


@pytest.fixture
def calls(folders: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been run; each installation puts 1,000 bytes there. The package `bad` does not install."""
    made: list[str] = []

    def call(command: Sequence[str | Path], _log: Path, path: Path | None = None) -> None:
        made.append(" ".join(str(part) for part in command[1:]))
        if "install" in command:
            packages = folders / "ENVIRONMENTS" / "tool" / "lib" / "python3" / "site-packages"
            packages.mkdir(parents=True, exist_ok=True)
            (packages / f"{len(made)}.py").write_bytes(bytes(1000))
        if "bad==1" in command:
            raise subprocess.CalledProcessError(1, "pip", "links\nERROR: No matching distribution for bad==1\nhint")

    monkeypatch.setattr(environments, "_call", call)
    return made


def test_what_is_not_installed_says_how(folders: Path) -> None:
    found = environment("tool")
    assert found.reason == "not installed: python -m benchmarks peers --install tool"
    assert found.installed_bytes is None
    assert found.statement == "import tool"


def test_installed_once_and_measured_before_what_only_the_benchmark_needs(folders: Path, calls: list[str]) -> None:
    found = install("tool")
    assert (found.reason, found.installed_bytes) == (None, 2000)
    made = " | ".join(calls)
    order = ("-m venv", "--constraint", "--requirement", "--no-deps other==2", "-c import tool")
    assert sorted(order, key=made.index) == list(order)
    count = len(calls)
    assert install("tool") == environment("tool") == found
    assert len(calls) == count


@pytest.mark.parametrize(
    ("recipe", "stale"),
    [('import = "import tool.other"\nbeside = ["other==2"]', False), ('import = "import tool"\nbeside = []', True)],
)
def test_a_changed_recipe_makes_the_environment_stale(
    folders: Path, calls: list[str], recipe: str, stale: bool
) -> None:
    install("tool")
    write_recipe(folders, recipe)
    reason = environment("tool").reason
    assert (reason is not None and reason.startswith("its recipe has changed")) == stale
    assert install("tool").reason is None


def test_what_does_not_install_keeps_its_reason_and_is_tried_again(folders: Path, calls: list[str]) -> None:
    write_recipe(folders, 'beside = ["bad==1"]')
    found = install("tool")
    assert found.reason == "not installable here: No matching distribution for bad==1"
    assert environment("tool") == found
    count = len(calls)
    install("tool")
    assert len(calls) == 2 * count


def test_an_interrupted_installation_counts_as_none(folders: Path, calls: list[str], monkeypatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(environments, "_call", interrupt)
    with pytest.raises(KeyboardInterrupt):
        install("tool")
    assert environment("tool").reason == "not installed: python -m benchmarks peers --install tool"


def test_removed(folders: Path, calls: list[str]) -> None:
    install("tool")
    remove("tool")
    assert not (folders / "ENVIRONMENTS" / "tool").exists()
    assert environment("tool").reason is not None


def test_the_product_s_own_python_needs_no_installation(folders: Path) -> None:
    write_recipe(folders, "product = true")
    found = environment("tool")
    assert (found.reason, found.installed_bytes) == (None, None)


def test_pip_is_not_counted(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3" / "site-packages"
    for name, size in (("pip", 5), ("pip-23.2.dist-info", 7), ("setuptools", 11), ("tool", 13), ("pipeline", 17)):
        (packages / name / "deep").mkdir(parents=True)
        (packages / name / "deep" / "file").write_bytes(bytes(size))
    (packages / "single.py").write_bytes(bytes(19))
    assert measure_packages(tmp_path) == 13 + 17 + 19
