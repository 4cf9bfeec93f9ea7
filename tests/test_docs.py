"""The documentation holds: the page of commands is current, command lines parse, options, links and imports exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from onnxplain import __version__
from onnxplain.cli.main import COMMANDS, cli
from tools.commands_page import PAGE, write_command, write_page

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The page that is generated holds usage lines; the flags on the benchmarks' page are those of their own command.
WRITTEN_PAGES = [path for path in PAGES if path != PAGE]
# Of tf2onnx.
OTHER_FLAGS = {"--dequantize"}
FLAG_PAGES = [path for path in WRITTEN_PAGES if path.name != "benchmarks.md"]


def code_lines(text: str) -> Iterator[str]:
    """The lines of fenced and indented blocks; lines that end in a backslash are joined with the next."""
    fenced = False
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def command_lines() -> list[tuple[str, str]]:
    """(page, command line) of each call of onnxplain in README and docs."""
    found = [(path, line) for path in WRITTEN_PAGES for line in code_lines(path.read_text(encoding="utf-8"))]
    return [(path.name, line) for path, line in found if re.match(r"(python -m )?onnxplain ", line)]


def parse(line: str) -> None:
    """Parse one command line as click does, without running it; a wrong one raises click.UsageError."""
    _, _, rest = line.partition("onnxplain ")
    name, *arguments = shlex.split(rest, comments=True)
    group = click.Context(cli, info_name="onnxplain")
    command = cli.get_command(group, name)
    assert command is not None, f"found the command {name}, expected one of {', '.join(COMMANDS)}"
    command.make_context(name, arguments, parent=group)


def names_in_code(text: str) -> set[str]:
    """The long options that stand between backticks, without those of other programs."""
    spans = [code for code in re.findall(r"`([^`\n]+)`", text) if "benchmarks" not in code]
    return {flag for code in spans for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", code)} - OTHER_FLAGS


def known_flags() -> set[str]:
    group = click.Context(cli, info_name="onnxplain")
    commands = [cli, *(cli.get_command(group, name) for name in COMMANDS)]
    return {
        flag
        for command in commands
        if command is not None
        for parameter in command.get_params(group)
        for flag in [*parameter.opts, *parameter.secondary_opts]
    }


def test_the_page_of_commands_is_current():
    current = PAGE.read_text(encoding="utf-8") == write_page()
    assert current, "docs/commands.md is not what the commands say: run python -m tools.commands_page (or make docs)"


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_page_does_not_depend_on_the_terminal(columns, monkeypatch):
    page = write_page()
    monkeypatch.setenv("COLUMNS", columns)
    assert write_page() == page


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_commands_has_each_command_and_option(name):
    section = write_page().split(f"\n## {name}\n")[1].split("\n## ")[0]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(f"`{flag}`" in section for flag in [*parameter.opts, *parameter.secondary_opts])


@click.command()
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("-o", "--output", required=True, metavar="DIR", help="Where to.")
@click.option("--mode", type=click.Choice(["a", "b"]), default="a", show_default=True, help="One of `a|b`, <or> none.")
@click.option(
    "--share", "shares", multiple=True, type=click.FloatRange(0, 1, min_open=True), help="Some. Default: all."
)
@click.option("--quiet/--loud", help="No lines.")
@click.option("--secret", hidden=True)
def sample() -> None:
    """Do a thing
    with *files*.

    \b
    kept  as
    it is
    """


def test_the_section_of_a_command():
    assert write_command(click.Context(click.Group()), "sample", sample).splitlines() == [
        "## sample",
        "",
        "    onnxplain sample [OPTIONS] FILE...",
        "",
        r"Do a thing with \*files\*.",
        "",
        "    kept  as",
        "    it is",
        "",
        "| option | value | what it does | default |",
        "| --- | --- | --- | --- |",
        "| `-o`, `--output` | `DIR` | Where to. | required |",
        r"| `--mode` | `a\|b` | One of `a\|b`, \<or\> none. | a |",
        "| `--share` | `NUMBER`, above 0 and at most 1, several times | Some. | all |",
        "| `--quiet`, `--loud` |  | No lines. |  |",
    ]


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_command_lines_in_the_documentation_parse(page, line):
    parse(line)


@pytest.mark.parametrize(
    "line",
    ["onnxplain explain model.onnx", "onnxplain explain a.onnx b.png --no-such-flag", "onnxplain explain --alpha 2"],
)
def test_a_wrong_command_line_is_found(line):
    with pytest.raises(click.UsageError):
        parse(line)


def test_command_lines_are_found_in_both_kinds_of_blocks():
    text = "a\n\n    onnxplain one \\\n        two\n\n```bash\nonnxplain three\n```\nonnxplain four\n"
    assert [" ".join(line.split()) for line in code_lines(text)] == ["onnxplain one two", "onnxplain three"]
    assert len(command_lines()) > 10


@pytest.mark.parametrize("path", FLAG_PAGES, ids=lambda path: path.stem)
def test_options_named_in_the_documentation_exist(path):
    assert names_in_code(path.read_text(encoding="utf-8")) <= known_flags()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_in_the_documentation_lead_somewhere(path):
    """Links to files and headings of this repository; those to other sites are not asked for."""
    text = re.sub(r"`[^`\n]*`", "", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists(), target
        if anchor:
            assert anchor in headings(page), target


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", WRITTEN_PAGES, ids=lambda path: path.stem)
def test_imports_in_the_documentation_exist(path):
    """The Python blocks parse, and what they import of onnxplain is there."""
    for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "onnxplain":
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, name.name) for name in node.names)


def test_the_package_runs_as_a_module():
    answer = subprocess.run(
        [sys.executable, "-m", "onnxplain", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.strip() == f"onnxplain, version {__version__}"


def test_the_module_ends_with_the_exit_status_of_the_command():
    answer = subprocess.run(
        [sys.executable, "-m", "onnxplain", "nothing"], capture_output=True, text=True, check=False, timeout=60
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("onnxplain: ")
