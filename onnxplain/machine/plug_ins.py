"""Plug-in providers: libraries that ONNX Runtime loads at run time, and the devices that they bring."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.machine.onnx_runtime import import_onnxruntime
from onnxplain.machine.provider_choice import ProviderChoice
from onnxplain.machine.providers import CPU, Provider, short_name

# The name under which a library is registered, in the whole process. ONNX Runtime refuses a second registration.
_registered: set[str] = set()


def built_in_providers() -> tuple[str, ...]:
    """ONNX Runtime's names of the providers in its build. Raises OnnxplainError if it is not installed."""
    # ONNX Runtime lists registered plug-ins too, but ``InferenceSession(providers=…)`` drops them without a word.
    return tuple(name for name in import_onnxruntime().get_available_providers() if name not in _registered)


def add_plug_ins(options: Any, choices: Sequence[ProviderChoice]) -> None:
    """Put the devices of plug-ins into a session's options, in order. ONNX Runtime adds the CPU itself.

    Raises OnnxplainError if a library cannot be loaded, if it finds no such device here, and for a provider of ONNX
    Runtime's own build beside a plug-in.
    """
    for choice in choices:
        if not choice.plug_in and choice.full_name != CPU:
            raise OnnxplainError(
                f"providers: found {short_name(choice.full_name)} beside a plug-in, expected plug-ins and cpu only: "
                "ONNX Runtime cannot combine the two kinds"
            )
    for choice in (choice for choice in choices if choice.plug_in):
        _register(choice)
        row, named = choice.row, {}
        if row is not None and row.kinds and choice.device:
            named = {row.device_option: choice.device}
        options.add_provider_for_devices([_device(choice)], {**named, **choice.options})


def plug_in_devices(row: Provider) -> tuple[str, ...]:
    """The types of the devices (CPU, GPU, NPU) that an installed plug-in finds here.

    Raises OnnxplainError if its library cannot be loaded.
    """
    _register(ProviderChoice(row.full_name, plug_in=True))
    return tuple(entry.device.type.name for entry in _devices(row.full_name))


def _devices(full_name: str) -> list[Any]:
    return [entry for entry in import_onnxruntime().get_ep_devices() if entry.ep_name == full_name]


def _register(choice: ProviderChoice) -> None:
    onnxruntime = import_onnxruntime()
    if choice.full_name in _registered:
        return
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise OnnxplainError(
            f"onnxruntime: found {onnxruntime.__version__}, expected 1.23 or newer for the plug-in "
            f"{short_name(choice.full_name)}: upgrade it"
        )
    try:
        onnxruntime.register_execution_provider_library(choice.full_name, choice.library or _package_library(choice))
    except Exception as error:  # ONNX Runtime's errors have no common base class; packages look for files
        raise OnnxplainError(
            f"provider: found a library of {short_name(choice.full_name)} that cannot be loaded "
            f"({' '.join(str(error).split())[:300]}), expected one for this ONNX Runtime ({onnxruntime.__version__}): "
            "install what it needs, or use `cpu`"
        ) from error
    _registered.add(choice.full_name)


def _package_library(choice: ProviderChoice) -> str:
    """The library's path. Packages name the function that knows it in two ways."""
    assert choice.row is not None
    module = import_module(choice.row.plug_in)
    find = getattr(module, "get_library_path", None) or module.library_path
    return str(find())


def _device(choice: ProviderChoice) -> Any:
    """The device: by its number among the provider's, or by its type (CPU, GPU, NPU); else the first.

    Where the row names other things than types, their type is preferred, and any device will do.
    """
    devices = _devices(choice.full_name)
    kinds = [entry.device.type.name for entry in devices]
    row = choice.row
    if row is not None and row.kinds:
        wanted_kind = row.kinds.get(choice.device, "")
        found = sorted(devices, key=lambda entry: entry.device.type.name != wanted_kind)[:1]
    elif choice.device.isdecimal():
        found = devices[int(choice.device) : int(choice.device) + 1]
    else:
        found = [entry for entry, kind in zip(devices, kinds, strict=True) if choice.device.upper() in ("", kind)]
    if not found:
        wanted = choice.device or "a device"
        raise OnnxplainError(
            f"provider: found {', '.join(kinds) or 'no device'} for {short_name(choice.full_name)} on this machine, "
            f"expected {wanted}: its hardware or driver is missing, use `cpu`"
        )
    return found[0]
