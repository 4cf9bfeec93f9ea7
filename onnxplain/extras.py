"""Optional packages: what each extra brings, and one line that says what to install if a package is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

from onnxplain.errors import OnnxplainError

Extra = Literal["cpu", "export", "torch", "train", "batch", "ray", "report", "methods", "metrics"]

EXTRAS: Mapping[Extra, tuple[str, ...]] = {
    "cpu": ("onnxruntime",),
    "export": ("onnx", "onnx_ir", "onnxscript"),
    "torch": ("torch",),
    "train": ("sklearn", "skimage", "yaml"),
    "batch": ("pyarrow",),
    "ray": ("ray",),
    "report": ("jinja2",),
    "methods": ("skimage",),
    "metrics": ("supervision",),
}
"""The modules that each extra adds. `torch` contains `export`, `train` contains `torch`, and `ray` contains `batch`."""

_CONTAINED: Mapping[Extra, tuple[Extra, ...]] = {
    "torch": ("export",),
    "train": ("export", "torch"),
    "ray": ("batch",),
}


def install_command(extra: Extra) -> str:
    """The command that installs an extra."""
    return f'pip install "onnxplain[{extra}]"'


def missing_modules(extra: Extra) -> tuple[str, ...]:
    """The modules of an extra that are not installed; no module is imported."""
    return tuple(module for module in EXTRAS[extra] if not _is_installed(module))


@contextmanager
def needs_extra(extra: Extra, why: str = "this command needs it", otherwise: str = "") -> Iterator[None]:
    """Around imports: raises OnnxplainError if a package of the extra is missing, or of an extra that it contains.

    `why`: what needs the package. `otherwise`: what works without it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _packages_of(extra):
            raise
        raise OnnxplainError(f"{package}: not installed, but {why}: run {install_command(extra)}{otherwise}") from error


def require_modules(extra: Extra, *modules: str) -> None:
    """Import modules now, so that a missing package is reported before the work begins."""
    with needs_extra(extra):
        for module in modules:
            import_module(module)


def _packages_of(extra: Extra) -> set[str]:
    """The modules of an extra and of those that it contains. A missing yaml is reported where a data set needs it."""
    parts = (extra, *_CONTAINED.get(extra, ()))
    return {package for part in parts for package in EXTRAS[part]} - {"yaml"}


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False
