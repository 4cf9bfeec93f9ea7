"""`onnxplain verify`: explain again as recorded, and say what differs."""

from __future__ import annotations

from pathlib import Path

import click

from onnxplain.cli.output.tables import print_json
from onnxplain.cli.output.terminal import say


@click.command(short_help="Explain again as recorded, and say what differs.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def verify(folder: Path, as_json: bool) -> None:
    """Repeat the run of `onnxplain explain` that wrote DIR, as DIR/run.json says, and compare.

    The model, the images and the maps are compared: files by SHA-256, maps bit for bit. If a map differs, versions and
    the processor that differ are listed too. Nothing in DIR is changed.

    Exit status: 0 if everything is the same, 1 if something differs, 2 if the run cannot be repeated.
    """
    from onnxplain.explanations.verify_folder import read_run, verify_run

    run = read_run(folder)
    differences = []
    for difference in verify_run(run):
        differences.append(difference)
        if not as_json:
            say(str(difference))
    maps = sum("error" not in line for line in run.lines)
    if as_json:
        print_json({"run": run.record["id"], "maps": maps, "differences": [vars(each) for each in differences]})
    elif not differences:
        say(f"{folder}: {maps} {'map is' if maps == 1 else 'maps are'} the same, bit for bit")
    if differences:
        raise click.exceptions.Exit(1)
