"""The entry point: the table of commands, and how each failure is reported."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from onnxplain.cli.output.terminal import say, settle_output
from onnxplain.errors import ImageWarning, OnnxplainError
from onnxplain.version import __version__

COMMANDS: dict[str, str] = {
    "demo": "onnxplain.cli.demo:demo",
    "export": "onnxplain.cli.export:export",
    "instrument": "onnxplain.cli.instrument:instrument",
    "inspect": "onnxplain.cli.inspect:inspect",
    "predict": "onnxplain.cli.predict:predict",
    "explain": "onnxplain.cli.explain:explain",
    "batch": "onnxplain.cli.batch:batch",
    "evaluate": "onnxplain.cli.evaluate:evaluate",
    "train": "onnxplain.cli.train:train",
    "verify": "onnxplain.cli.verify:verify",
    "serve-config": "onnxplain.cli.serve_config:serve_config",
    "report": "onnxplain.cli.report:report",
    "compare": "onnxplain.cli.compare:compare",
    "methods": "onnxplain.cli.methods:methods",
    "doctor": "onnxplain.cli.doctor:doctor",
}

# What makes libraries keep to themselves what they also raise.
QUIET = {"OPENCV_LOG_LEVEL": "SILENT"}
WRONG_USAGE = 2
# Set in the environment, this variable makes errors print their traceback.
DEBUG = "ONNXPLAIN_DEBUG"
_LONGEST_UNEXPECTED = 300
INTERRUPTED = 130


class CommandLine(click.Group):
    """A group that imports a command only when it is used, and reports each failure on one line.

    Exit statuses: 0 done; 1 done, but some image could not be read, or a training missed its goal; 2 wrong usage,
    or a model that cannot be used; 130 interrupted.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line. In standalone mode, end the process with the exit status."""
        os.environ.update(QUIET | dict(os.environ))
        if not logging.getLogger().handlers:
            # What libraries log they also raise; without a handler, Python prints it.
            logging.getLogger().addHandler(logging.NullHandler())
        try:
            with _warnings_on_one_line():
                status: Any = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except (OnnxplainError, click.ClickException, click.Abort, OSError) as error:
            if not standalone_mode:
                raise
            status = _report(error)
        except Exception as error:
            if not standalone_mode:
                raise
            status = _report(_unexpected(error))
        if not standalone_mode:
            return status
        sys.exit(status)


@contextlib.contextmanager
def _warnings_on_one_line() -> Iterator[None]:
    """Print the first warning about an image on one line of standard error, and leave the others of its kind out.

    Warnings of other packages are one line each, on which nothing controls the terminal.
    """
    shown = False
    with warnings.catch_warnings():
        warnings.simplefilter("always", ImageWarning)

        def show(message: Warning | str, category: type[Warning], *_rest: Any, **_more: Any) -> None:
            nonlocal shown
            about_image = issubclass(category, ImageWarning)
            if not about_image or not shown:
                shown |= about_image
                say(f"onnxplain: warning: {' '.join(str(message).split())}", err=True)

        warnings.showwarning = show
        yield


def _unexpected(error: Exception) -> OnnxplainError:
    """An error that nothing caught, with what to do. No traceback reaches the user unless it is asked for."""
    if isinstance(error, MemoryError):
        return OnnxplainError("found too little memory, expected more: use a smaller model or smaller images")
    words = f"{type(error).__name__}: {error}"[:_LONGEST_UNEXPECTED]
    hint = "report it" if os.environ.get(DEBUG) else f"set {DEBUG}=1 to see the traceback, and report it"
    return OnnxplainError(f"internal error ({words}): {hint}")


def _report(error: Exception) -> int:
    """Print the error as one line on standard error; returns the exit status."""
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if os.environ.get(DEBUG):
        traceback.print_exc()
    message = str(error)
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "onnxplain"
        message = f"{error.format_message().rstrip('.')}: see {path} --help"
    elif isinstance(error, click.ClickException):
        message = error.format_message()
    elif isinstance(error, OSError):
        settle_output()
        place = "" if error.filename is None else f"{error.filename}: "
        message = f"{place}the system refused ({error.strerror or error}): check the disk and the permissions"
    say(f"onnxplain: {' '.join(message.split())}", err=True)
    return WRONG_USAGE


@click.group(cls=CommandLine, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onnxplain")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Explain ONNX image models: show what a model sees, where, and why, as boxes and heatmaps.

    \b
    Try it:             onnxplain demo
    Explain a photo:    onnxplain explain model.onnx photo.jpg
    Prepare a model:    onnxplain instrument model.onnx -o explainable.onnx
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Run the command line with this process's arguments. The console script `onnxplain` calls this function."""
    for stream in (sys.stdout, sys.stderr):
        # Texts have signs that not every encoding has, and names have any bytes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="onnxplain")


if __name__ == "__main__":
    main()
