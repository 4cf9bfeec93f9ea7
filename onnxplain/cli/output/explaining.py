"""Explain images into a folder for another command, and print what went wrong on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.output.assumptions import warn_assumed
from onnxplain.cli.output.progress import Bar
from onnxplain.explanations.explain_images import explain_images
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle
from onnxplain.explanations.run_record import record_run

if TYPE_CHECKING:
    from onnxplain.explanations.open_model import OpenedModel
    from onnxplain.explanations.open_options import OpenOptions
    from onnxplain.explanations.questions import Question


def explain_into(
    folder: Path,
    opened: OpenedModel,
    options: OpenOptions,
    sources: Sequence[Path],
    questions: Sequence[Question],
    bar: Bar,
    style: PictureStyle | None = None,
    max_megapixels: float | None = None,
) -> bool:
    """Fill `folder` as `onnxplain explain` does; returns whether some image could not be read.

    Raises click.Abort if the user interrupts the work.
    """
    style = style or PictureStyle()
    run = record_run(opened, options, questions, style, folder, max_megapixels)
    failed = warned = interrupted = False
    with ExplanationFolder(folder, style, run) as written:
        for explained in explain_images(opened.engine, sources, questions, written, bar, max_megapixels=max_megapixels):
            if not warned:
                warn_assumed(opened.engine.spec.input, bar.echo)
                warned = True
            if explained.error:
                failed = True
                bar.echo(f"onnxplain: {explained.error}", err=True)
            interrupted = explained.interrupted
    if interrupted:
        raise click.Abort
    return failed
