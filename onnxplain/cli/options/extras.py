"""Optional packages: one line that says what to install, instead of an ImportError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Literal

from onnxplain.errors import OnnxplainError

Extra = Literal["export", "torch", "train"]

_PACKAGES: dict[str, str] = {
    "onnx": "export",
    "onnx_ir": "export",
    "onnxscript": "export",
    "torch": "torch",
    "sklearn": "train",
    "skimage": "train",
}
# Each contains those before it.
_ORDER = ("export", "torch", "train")


@contextmanager
def needs_extra(extra: Extra) -> Iterator[None]:
    """Around imports: where a package of the extra, or of one inside it, is missing, OnnxplainError names it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES or _ORDER.index(_PACKAGES[package]) > _ORDER.index(extra):
            raise
        raise OnnxplainError(
            f'{package}: not installed, this command needs it: run pip install "onnxplain[{extra}]"'
        ) from error


def require_modules(extra: Extra, *modules: str) -> None:
    """Import modules now, so that a missing package is named before the work begins and not in its midst."""
    with needs_extra(extra):
        for module in modules:
            import_module(module)
