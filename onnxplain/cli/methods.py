"""`onnxplain methods`: the methods that `explain -m` accepts."""

from __future__ import annotations

import click

from onnxplain.cli.output.tables import print_json, print_table
from onnxplain.cli.output.terminal import say


@click.command(short_help="List the explanation methods.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def methods(as_json: bool) -> None:
    """List the explanation methods: name, what the model file must have, what the method computes."""
    from onnxplain.explainers import METHODS

    for plugin in METHODS.broken:
        say(f"onnxplain: {plugin}", err=True)
    if as_json:
        print_json(
            [
                {"name": name, "needs": method.needs.what, "summary": method.summary, "options": method.options}
                for name, method in METHODS.items()
            ]
        )
        return
    print_table(
        ("method", "needs", "what it computes"),
        [(name, method.needs.what, method.summary) for name, method in METHODS.items()],
    )
