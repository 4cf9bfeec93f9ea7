"""What is installed on this machine, and its processor."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError
from onnxplain.version import __version__

if TYPE_CHECKING:
    from onnxplain.machine.processor import ProcessorTraits

# Package → names under which it can be installed.
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    "pillow": ("pillow",),
    "scipy": ("scipy",),
    "onnx": ("onnx",),
    "onnx-ir": ("onnx-ir",),
    "onnxscript": ("onnxscript",),
    "torch": ("torch",),
}


@dataclass(frozen=True)
class Processor:
    """The processor's name, empty if unknown, and its traits; without ONNX Runtime the traits are unknown."""

    name: str
    traits: ProcessorTraits | None

    def describe(self) -> str:
        """All of it on one line."""
        if self.traits is None:
            return self.name or "unknown"
        traits = self.traits
        sets = {"AVX2": traits.avx2, "AVX-512": traits.avx512, "VNNI": traits.vnni}
        parts = [self.name, traits.machine, f"{traits.cores} cores"]
        parts += [title if has else f"no {title}" for title, has in sets.items() if has is not None]
        parts.append("8-bit kernels saturate" if traits.saturates else "8-bit kernels are exact")
        return ", ".join(part for part in parts if part)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, **({} if self.traits is None else asdict(self.traits))}


def read_processor() -> Processor:
    """This machine's processor."""
    from onnxplain.machine.processor import processor_traits

    try:
        return Processor(read_processor_name(), processor_traits())
    except OnnxplainError:
        return Processor(read_processor_name(), None)


def read_processor_name(path: Path | None = None) -> str:
    """The model's name, as Linux lists it in `path` or as Python knows it; empty if it is unknown."""
    from onnxplain.machine.processor import CPU_FLAGS_FILE

    try:
        lines = (path or CPU_FLAGS_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == "model name")
    return next(named, "") or platform.processor()


def find_versions() -> dict[str, str | None]:
    """The versions of onnxplain, Python and the packages that it uses; None: not installed. Nothing is imported."""
    found = {name: _version(names) for name, names in _PACKAGES.items()}
    return {"onnxplain": __version__, "python": platform.python_version(), **found}


def has_module(name: str) -> bool:
    """Whether a Python module is installed; it is not imported."""
    return bool(name) and find_spec(name) is not None


def _version(names: tuple[str, ...]) -> str | None:
    # Here, because it takes longer than the rest of this package.
    from importlib.metadata import PackageNotFoundError, version

    for name in names:
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        return found if name == names[0] else f"{found} ({name})"
    return None
