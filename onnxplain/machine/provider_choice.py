"""The providers that a user asks for: ``cuda:1``, ``tensorrt,cache=engines``, ``openvino:GPU,num_streams=2``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnxplain.errors import OnnxplainError
from onnxplain.machine.installed import has_module
from onnxplain.machine.providers import (
    BY_FULL_NAME,
    CPU,
    CUDA,
    EXECUTION_PROVIDER,
    FOLDER,
    PROVIDERS,
    Provider,
    short_name,
)

CACHE, LIBRARY = "cache", "library"


@dataclass(frozen=True)
class ProviderChoice:
    """A provider to run on.

    `device`: what followed the colon, empty for the provider's default. `options`: for the provider, without the
    device. `plug_in`: it is started as a plug-in; `library`: from this file, empty: from the package of its row.
    """

    full_name: str
    device: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    plug_in: bool = False
    library: str = ""

    @property
    def row(self) -> Provider | None:
        """What onnxplain knows of it."""
        return BY_FULL_NAME.get(self.full_name)

    def configured(self) -> str | tuple[str, dict[str, str]]:
        """What ``InferenceSession(providers=…)`` takes; a plug-in gets its device in another way."""
        options = dict(self.options)
        if self.device and not self.plug_in and self.row is not None:
            options[self.row.device_option] = self.device
        return (self.full_name, options) if options else self.full_name


def choose_providers(
    asked: str | Sequence[str] | None,
    available: Sequence[str],
    has_plug_in: Callable[[str], bool] = has_module,
) -> list[ProviderChoice]:
    """The providers asked for, in order; None: CUDA if it is available, then the CPU.

    Each is ``NAME[:DEVICE][,OPTION=VALUE…]``. NAME is that of a row of `PROVIDERS` or ONNX Runtime's. ``cache=FOLDER``
    keeps compiled graphs there; ``library=FILE`` is the library of a plug-in provider; any other option is the
    provider's own. `available`: ONNX Runtime's names of the providers in its build. `has_plug_in`: whether a Python
    module is installed. Raises OnnxplainError, with what to install, for one that is not there, and for another form.
    """
    if asked is None:
        return [ProviderChoice(name) for name in (CUDA, CPU) if name in available]
    chosen = [_choose(text, available, has_plug_in) for text in ([asked] if isinstance(asked, str) else asked)]
    if not chosen:
        raise OnnxplainError(f"providers: found none, expected at least one of {_listed(available, has_plug_in)}")
    names = [choice.full_name for choice in chosen]
    if len(set(names)) < len(names):
        raise OnnxplainError(f"providers: found {', '.join(map(short_name, names))}, expected each of them once")
    return chosen


def check_providers(asked: Sequence[str], running: Sequence[str]) -> None:
    """Raise OnnxplainError if ONNX Runtime dropped a provider, which it does if libraries are missing."""
    dropped = [name for name in asked if name not in running]
    if dropped:
        raise OnnxplainError(
            f"provider: found {', '.join(running)}, expected {', '.join(dropped)}, which ONNX Runtime could not start: "
            "install the libraries it needs (see the log above), or use `cpu`"
        )


def device_number(asked: str | Sequence[str] | None) -> int:
    """The number of the device on which the first provider computes; 0 where none is said."""
    first = asked if asked is None or isinstance(asked, str) else next(iter(asked), None)
    device = "" if first is None else first.partition(",")[0].partition(":")[2]
    return int(device) if device.isdecimal() else 0


def _choose(text: str, available: Sequence[str], has_plug_in: Callable[[str], bool]) -> ProviderChoice:
    head, *pairs = (part.strip() for part in text.split(","))
    name, colon, device = head.partition(":")
    options = dict(_pair(text, pair) for pair in pairs)
    library, cache = options.pop(LIBRARY, ""), options.pop(CACHE, "")
    full_name = _full_name(name, (*available, *BY_FULL_NAME))
    if full_name is None and library:
        full_name = name
    row = None if full_name is None else BY_FULL_NAME.get(full_name)
    plugged = bool(library) or (row is not None and full_name not in available and has_plug_in(row.plug_in))
    if full_name is None or not (plugged or full_name in available):
        install = "" if row is None else f": run {row.install}" if row.install.startswith("pip") else f": {row.install}"
        raise OnnxplainError(
            f"provider: found {name!r}, expected one that this ONNX Runtime has "
            f"({_listed(available, has_plug_in)}){install}"
        )
    if colon:
        _check_device(text, device, row, plugged=plugged)
    if full_name == CPU and options:
        # ONNX Runtime takes any for the CPU, and reads none.
        raise OnnxplainError(f"provider: found {text!r}, expected cpu alone: it has no options")
    if cache:
        options |= _cache_options(text, cache, row)
    return ProviderChoice(full_name, device or ("" if row is None else row.device), options, plugged, library)


def _pair(text: str, pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not (name and equals and value):
        raise OnnxplainError(f"provider: found {text!r}, expected NAME:DEVICE,OPTION=VALUE such as cuda:1,use_tf32=0")
    return name, value


def _full_name(name: str, known: Sequence[str]) -> str | None:
    by_name = {short_name(full): full for full in known}
    by_name |= {full.removesuffix(EXECUTION_PROVIDER).lower(): full for full in known}
    return by_name.get(name.removesuffix(EXECUTION_PROVIDER).lower()) or by_name.get(name.lower())


def _check_device(text: str, device: str, row: Provider | None, *, plugged: bool) -> None:
    numbered = not plugged and row is not None and row.numbered
    if not plugged and (row is None or not row.device_option):
        raise OnnxplainError(f"provider: found {text!r}, expected no device: this provider has one only")
    if not device or (numbered and not device.isdecimal()):
        wanted = "a number such as 0" if numbered else "a name such as GPU"
        raise OnnxplainError(f"provider: found {text!r}, expected {wanted} behind the colon")


def _cache_options(text: str, folder: str, row: Provider | None) -> dict[str, str]:
    if row is None or not row.cache:
        able = ", ".join(each.name for each in PROVIDERS.values() if each.cache)
        raise OnnxplainError(f"provider: found {text!r}, expected no cache: only {able} keep compiled graphs")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OnnxplainError(
            f"provider: found the cache {folder!r} ({error.strerror}), expected a folder to write into: choose another"
        ) from error
    return {name: value.replace(FOLDER, folder) for name, value in row.cache.items()}


def _listed(available: Sequence[str], has_plug_in: Callable[[str], bool]) -> str:
    names = {short_name(name) for name in available}
    names |= {row.name for row in PROVIDERS.values() if row.plug_in and has_plug_in(row.plug_in)}
    return ", ".join(sorted(names))
