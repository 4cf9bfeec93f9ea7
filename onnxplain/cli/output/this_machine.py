"""What `doctor` says about this machine: installed versions and the processor."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onnxplain.version import __version__

CPU_FILE = Path("/proc/cpuinfo")
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
# Instruction sets that decide how fast, and how exactly, ONNX Runtime multiplies.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16", "asimd", "asimddp", "i8mm", "bf16")


@dataclass(frozen=True)
class Processor:
    """The processor: architecture, model name (empty if unknown), cores for this process, instruction sets.

    `flags`: those of `_FLAGS` that Linux lists; None where it lists none.
    """

    machine: str
    name: str
    cores: int
    flags: tuple[str, ...] | None

    def describe(self) -> str:
        """All of it on one line."""
        flags = "instruction sets unknown" if self.flags is None else " ".join(self.flags)
        return ", ".join(part for part in (self.name, self.machine, f"{self.cores} cores", flags) if part)


def find_versions() -> dict[str, str | None]:
    """The versions of onnxplain, Python and the packages that it uses; None: not installed. Nothing is imported."""
    found = {name: _version(names) for name, names in _PACKAGES.items()}
    return {"onnxplain": __version__, "python": platform.python_version(), **found}


def read_processor(path: Path = CPU_FILE) -> Processor:
    """This machine's processor, from Linux's list of processors if there is one."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    # The first processor's lines come first; ARM says Features in place of flags.
    entries: dict[str, str] = {}
    for line in lines:
        title, _, text = line.partition(":")
        entries.setdefault(title.strip().lower(), text.strip())
    listed = entries.get("flags", entries.get("features"))
    flags = None if listed is None else tuple(flag for flag in _FLAGS if flag in listed.split())
    name = entries.get("model name") or platform.processor()
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return Processor(platform.machine(), "" if name == platform.machine() else name, cores, flags)


def _version(names: tuple[str, ...]) -> str | None:
    for name in names:
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        return found if name == names[0] else f"{found} ({name})"
    return None
