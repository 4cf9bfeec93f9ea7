"""Optional packages: if one is missing, one line says what to install."""

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
# Each extra contains those before it.
_ORDER = ("export", "torch", "train")


@contextmanager
def needs_extra(extra: Extra) -> Iterator[None]:
    """Around imports: raises OnnxplainError if a package of the extra is missing, or of an extra that it contains."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES or _ORDER.index(_PACKAGES[package]) > _ORDER.index(extra):
            raise
        raise OnnxplainError(
            f'{package}: not installed, but this command needs it: run pip install "onnxplain[{extra}]"'
        ) from error


def require_modules(extra: Extra, *modules: str) -> None:
    """Import modules now, so that a missing package is reported before the work begins."""
    with needs_extra(extra):
        for module in modules:
            import_module(module)
