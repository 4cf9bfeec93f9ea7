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
    the processor that differ are listed too. Methods that score copies of the image find their batch size by timing, so
    their maps may differ in the last digits: this is said, and counts as the same. Nothing in DIR is changed.

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
    real = [each for each in differences if each.is_real]
    rounded = len(differences) - len(real)
    if as_json:
        digits = [vars(each) for each in differences if not each.is_real]
        differing = [vars(each) for each in real]
        print_json({"run": run.record["id"], "maps": maps, "differences": differing, "last_digits": digits})
    elif not real:
        exact = f"{maps - rounded} {'map is' if maps - rounded == 1 else 'maps are'} the same, bit for bit"
        say(f"{folder}: {exact}{f'; {rounded} up to the last digits' if rounded else ''}")
    if real:
        raise click.exceptions.Exit(1)
