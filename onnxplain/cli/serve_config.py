"""`onnxplain serve-config`: the files with which an inference server serves a model."""

from __future__ import annotations

from pathlib import Path

import click

from onnxplain.cli.output.terminal import say
from onnxplain.extras import needs_extra


@click.command(name="serve-config", short_help="Write the files with which a server serves a model.")
@click.argument("server", type=click.Choice(["triton"]))
@click.argument("path", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "repository",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="REPOSITORY",
    help="The model repository, a folder. It is made if it is missing.",
)
@click.option("--name", metavar="NAME", help="The name of the plain entry. Default: the name of the file.")
@click.option(
    "--max-batch",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="The largest batch that the server forms of requests to the plain entry.",
)
def serve_config(server: str, path: Path, repository: Path, name: str | None, max_batch: int) -> None:
    """Write the entries NAME and NAME_explain for the explainable file MODEL into a model repository.

    NAME is the model without its gradients, with dynamic batching. NAME_explain is the explainable file. Its inputs
    `target` and `explain` are optional, so the server forms no batches of requests to it; a request may hold several
    images.

    Needs the extra `export`.
    """
    with needs_extra("export"):
        from onnxplain.exporters.triton import write_triton_repository

    for entry in write_triton_repository(path, repository, name, max_batch):
        batches = f"batches of up to {entry.max_batch}" if entry.max_batch else "no batches of several requests"
        say(f"{entry.folder}: written for {server}, {batches}")
