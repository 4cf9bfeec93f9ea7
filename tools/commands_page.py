"""Write docs/commands.md from the commands: python -m tools.commands_page

The page does not depend on the width of the terminal: only commands, texts and options come from click.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click

from onnxplain.cli.main import COMMANDS, cli

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
INTRODUCTION = """\
# Commands

This page is generated from the commands: `make docs` writes it, and a test checks that it is current. `onnxplain` and
`python -m onnxplain` are the same program. Every command has `-h`/`--help`; `onnxplain --version` prints the version.

Errors are one line on standard error. Exit statuses:

| status | meaning |
| --- | --- |
| 0 | done |
| 1 | done, but some image could not be read, or a training missed its goal |
| 2 | wrong usage, or a model that cannot be used |
| 130 | interrupted by Ctrl-C |
"""
# What separates the description of an option from its default, in the help texts.
DEFAULT = "Default: "
BAR = r"\|"


def write_page() -> str:
    """The whole page as Markdown."""
    group = click.Context(cli, info_name="onnxplain")
    commands = {name: cli.get_command(group, name) for name in COMMANDS}
    overview = [
        _write_row(f"[`{name}`](#{name})", _escape(command.short_help or ""))
        for name, command in commands.items()
        if command
    ]
    sections = [write_command(group, name, command) for name, command in commands.items() if command]
    return "\n".join([INTRODUCTION, "| command | |", "| --- | --- |", *overview, "", "\n".join(sections)])


def write_command(group: click.Context, name: str, command: click.Command) -> str:
    """Usage, description and table of options of one command."""
    context = click.Context(command, info_name=name, parent=group)
    usage = " ".join(["onnxplain", name, *command.collect_usage_pieces(context)])
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    parts = [f"## {name}\n", f"    {usage}\n", *(f"{_write_paragraph(text)}\n" for text in paragraphs)]
    options = [entry for entry in command.params if isinstance(entry, click.Option) and not entry.hidden]
    if options:
        parts += ["| option | value | what it does | default |", "| --- | --- | --- | --- |"]
        parts += [_write_option(option) for option in options]
        parts.append("")
    return "\n".join(parts)


def _write_paragraph(text: str) -> str:
    """One paragraph on one line; a block that click must not wrap (\\b) keeps its line breaks."""
    if text.startswith("\b"):
        return "\n".join(f"    {line}" for line in text.splitlines()[1:])
    return _escape(" ".join(text.split()))


def _write_option(option: click.Option) -> str:
    """The row of one option."""
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    text, _, default = " ".join((option.help or "").split()).partition(DEFAULT)
    if option.show_default:
        default = str(option.default)
    elif option.required:
        default = "required"
    return _write_row(names, _describe_value(option), _escape(text), _escape(default.rstrip(".")))


def _write_row(*cells: str) -> str:
    """A row of a table; bars are escaped, also inside code spans."""
    return f"| {' | '.join(cell.strip().replace('|', BAR) for cell in cells)} |"


def _describe_value(option: click.Option) -> str:
    """Placeholder or choices of an option's value, its range, and whether the option may be repeated."""
    if option.is_flag:
        return ""
    if option.metavar:
        value = option.metavar
    elif isinstance(option.type, click.Choice):
        value = "|".join(map(str, option.type.choices))
    else:
        value = "TEXT" if option.type is click.STRING else "NUMBER"
    several = "several times" if option.multiple else ""
    return ", ".join(part for part in [f"`{value}`", _describe_range(option.type), several] if part)


def _describe_range(kind: click.ParamType) -> str:
    """The bounds of a number, in words."""
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return ""
    low = "" if kind.min is None else f"{'above' if kind.min_open else 'at least'} {kind.min}"
    high = "" if kind.max is None else f"{'below' if kind.max_open else 'at most'} {kind.max}"
    return " and ".join(bound for bound in (low, high) if bound)


def _escape(text: str) -> str:
    """Plain text as Markdown; text between backticks is not changed."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([<>*\[\]])", r"\\\1", part) for part in parts)


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
