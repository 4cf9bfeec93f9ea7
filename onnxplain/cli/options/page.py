"""The HTML page that a command writes."""

from __future__ import annotations

from pathlib import Path

import click


def read_page(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    """The path, if it ends in .html: a photo or a model that stands in the wrong place is not overwritten."""
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(f"found {path}, expected a file that ends in .html")
    # Known now, not after the work.
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"found {path}, expected a file in a folder that exists: create {path.parent}")
    return path
