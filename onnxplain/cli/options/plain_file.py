"""Options for a file that is instrumented on the way, and opening a model for methods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from onnxplain.cli.options.gather import stack
from onnxplain.cli.options.model import ModelArguments
from onnxplain.contract import BatchChoice

if TYPE_CHECKING:
    from onnxplain.cli.options.method import MethodArguments
    from onnxplain.cli.output.progress import Bar
    from onnxplain.explanations.open_model import OpenedModel
    from onnxplain.explanations.open_options import OpenOptions


@dataclass(frozen=True)
class ModelToExplain:
    """The model, and how it is instrumented on the way if it is a plain file."""

    model: ModelArguments
    logits: str | None = None
    box: str | None = None
    batch: BatchChoice = "auto"
    no_cache: bool = False

    def options_for(self, asked: MethodArguments) -> OpenOptions:
        """How the model is opened for these methods. Reads the files that options name."""
        from onnxplain.explanations.open_options import OpenOptions

        model = self.model
        return OpenOptions(
            providers=model.providers or None,
            precision=model.precision,
            preprocessing=model.stated.parts,
            input_size_hw=model.stated.size,
            layout=model.stated.layout,
            labels=model.answers.labels,
            heads=model.answers.heads,
            inputs=model.answers.read_inputs(),
            sidecars=not model.no_sidecar,
            detector=model.detector,
            layers=asked.layers,
            logits=self.logits,
            box=self.box,
            batch=self.batch,
            use_cache=not self.no_cache,
        )

    def open(
        self,
        options: OpenOptions,
        asked: MethodArguments,
        bar: Bar,
        *,
        quiet: bool = False,
        falls_back: bool = True,
    ) -> OpenedModel:
        """The model for these methods. Says on standard error what was instrumented; `quiet`: only warnings.

        `falls_back`: whether rise may take the place of the default method if the file cannot be instrumented. For a
        detector it always may; otherwise the reason is raised.
        """
        from onnxplain.explainers.method_options import divide_options
        from onnxplain.explanations.open_model import open_model, with_advice
        from onnxplain.explanations.opening_notes import notes

        if asked.methods:
            divide_options(asked.methods, asked.options)
        opened = open_model(
            Path(self.model.path), asked.methods, options, lambda path: bar.say(f"instrumenting {path.name}")
        )
        if opened.obstacle is not None and not falls_back and opened.engine.detector is None:
            raise with_advice(opened.obstacle)
        for note in notes(opened):
            if note.warning or not quiet:
                bar.echo(f"onnxplain: {'warning: ' if note.warning else ''}{note.text}", err=True)
        return opened


plain_file_options = stack(
    click.option(
        "--logits",
        metavar="NAME",
        help="Another word for --head NAME:classes; NAME may be any value of the graph.",
    ),
    click.option(
        "--box",
        metavar="NAME",
        help="Another word for --head NAME:box. The box gives cx, cy, w, h as shares of the input. For other boxes, "
        "use `onnxplain instrument`.",
    ),
    click.option(
        "--batch",
        type=click.Choice(get_args(BatchChoice)),
        default="auto",
        show_default=True,
        help="For a file that is not instrumented: what to do if it fixes the batch size, see `onnxplain instrument`.",
    ),
    click.option(
        "--no-cache",
        is_flag=True,
        help="Do not read or keep instrumented copies in the cache folder (`onnxplain doctor` shows it).",
    ),
)
"""The options of `ModelToExplain`, without those of its model."""
