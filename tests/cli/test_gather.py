"""Options gathered into one value; and that every command receives a handful of values."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from onnxplain.cli.main import COMMANDS, cli
from onnxplain.cli.options.gather import gather, gather_stated, stack


@dataclass(frozen=True)
class Size:
    height: int
    width: int = 7


@click.command()
@click.option("--height", type=int, default=3)
@stack(
    click.option("--seed", type=int),
    click.option("--name"),
    click.option("--loud", is_flag=True, default=None),
    gather_stated("stated", ("seed", "name", "loud")),
)
@gather("size", Size)
@click.option("--last")
def command(size: Size, stated: dict[str, object], last: str | None) -> None:
    click.echo(f"{size} {stated} {last}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "Size(height=3, width=7) {} None"),
        (["--height", "5", "--last", "x"], "Size(height=5, width=7) {} x"),
        (["--name", "", "--seed", "0", "--loud"], "Size(height=3, width=7) {'seed': 0, 'name': '', 'loud': True} None"),
    ],
)
def test_values_are_gathered(words, expected):
    assert CliRunner().invoke(command, words, catch_exceptions=False).output == expected + "\n"


def test_options_keep_the_order_in_which_they_stand():
    assert [parameter.name for parameter in command.params] == ["height", "seed", "name", "loud", "last"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_receives_at_most_seven_values(name):
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    assert found.callback is not None
    assert len(inspect.signature(found.callback).parameters) <= 7
