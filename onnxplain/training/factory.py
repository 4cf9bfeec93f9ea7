"""A PyTorch module given on the command line as ``package.module:factory``, with weights from a file."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch

from onnxplain.errors import OnnxplainError


def build_module(location: str, weights: Path | None = None) -> torch.nn.Module:
    """Call ``package.module:factory`` without arguments; return its module in eval mode.

    The package is also searched in the current folder. `weights`: a state dict, or a checkpoint with one under
    ``state_dict``, read without running pickled code; the prefix ``module.`` of DataParallel is removed.
    Raises OnnxplainError for a location or a file that cannot be used.
    """
    module = _call_factory(location)
    if weights is not None:
        _load_weights(module, weights)
    return module.eval()


def has_box_head(module: torch.nn.Module, channels: int, size_hw: tuple[int, int]) -> bool:
    """Whether the module returns (logits, box) or only logits; tested on a blank image."""
    with torch.no_grad():
        outputs = module(torch.zeros(1, channels, *size_hw))
    return isinstance(outputs, tuple | list) and len(outputs) == 2


def _call_factory(location: str) -> torch.nn.Module:
    package, _, name = location.partition(":")
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        factory: Any = importlib.import_module(package)
        for part in name.split("."):
            factory = getattr(factory, part)
        module = factory()
    except Exception as error:  # the user's code may raise anything
        raise OnnxplainError(
            f"{location}: cannot be built ({type(error).__name__}: {error}), expected package.module:factory, a "
            "function without arguments that returns a torch.nn.Module"
        ) from error
    finally:
        sys.path.remove(folder)
    if not isinstance(module, torch.nn.Module):
        raise OnnxplainError(f"{location}: returned {type(module).__name__}, expected a torch.nn.Module")
    return module


def _load_weights(module: torch.nn.Module, path: Path) -> None:
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise OnnxplainError(f"{path}: cannot read the weights ({error.strerror or error}): check the path") from error
    except Exception as error:  # files in the old format may raise anything in the unpickler
        raise OnnxplainError(
            f"{path}: found a damaged file or no plain PyTorch state dict, expected a file from "
            "torch.save(module.state_dict(), path)"
        ) from error
    state = tree.get("state_dict", tree) if isinstance(tree, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise OnnxplainError(f"{path}: found no state dict, expected a dict of names and tensors")
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise OnnxplainError(f"{path}: the weights do not fit the module: {' '.join(str(error).split())}") from error
