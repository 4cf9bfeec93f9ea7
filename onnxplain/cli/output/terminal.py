"""Text for a terminal: names from files cannot control it, and a failed output is an error of one line."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import TextIO

import click

from onnxplain.errors import OnnxplainError
from onnxplain.files.json_bytes import CONTROLS

_CONTROL = re.compile(f"[\x00-\x1f{CONTROLS}]")
_WRONG_OUTPUT = 2
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""The text with every character that a terminal could obey written as an escape, such as ``\x1b`` or ``\u202e``.

    These are control characters (C0, C1, with line breaks and tabs), controls of writing direction, and bytes of file
    names that are not UTF-8.
    """
    return _CONTROL.sub(_escape, text)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is a terminal; a closed one is None."""
    return stream is not None and stream.isatty()


def say(line: str = "", *, err: bool = False) -> None:
    """Print one line, `printable`, on standard output, or on standard error.

    Raises OnnxplainError if standard output cannot be written, and ends the command with status 2, without a message,
    if it is a pipe that nobody reads any more. A failure of standard error is ignored: there is no
    other place to report it.
    """
    print_text(f"{printable(line)}\n", err=err)


def print_text(text: str, *, err: bool = False) -> None:
    """Print a text that is known to be safe, as it is; errors as `say`."""
    stream = sys.stderr if err else sys.stdout
    try:
        if stream is None:
            raise OSError("it is closed")
        click.echo(text, err=err, nl=False)
    except BrokenPipeError as error:
        if err:
            return
        # Whoever reads has seen enough, as in `onnxplain methods | head`: no message.
        settle_output()
        raise click.exceptions.Exit(_WRONG_OUTPUT) from error
    except (OSError, ValueError) as error:
        if err:
            return
        settle_output()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise OnnxplainError(
            f"standard output: cannot be written ({reason}), expected an open file or pipe: files written so far are "
            "complete"
        ) from error


def settle_output() -> None:
    """Drop what standard output cannot write: Python would try it again at its end, and fail again."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name, see PEP 383
        code -= 0xDC00
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
