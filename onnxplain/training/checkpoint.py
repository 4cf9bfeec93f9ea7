"""Checkpoints of localizers: everything needed to rebuild and export one, readable without running pickled code."""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError
from onnxplain.training.localizer import Localizer, LocalizerConfig

_KIND = "onnxplain localizer"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class LocalizerCheckpoint:
    """A trained localizer in eval mode, one label per class, and the preprocessing that it was trained with."""

    module: Localizer
    labels: tuple[str, ...]
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        if len(self.labels) != self.module.config.classes:
            raise OnnxplainError(
                f"checkpoint: found {len(self.labels)} labels for {self.module.config.classes} classes: "
                "give one label per class"
            )

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the model's input."""
        return self.module.config.size_hw


def save_checkpoint(
    path: str | os.PathLike[str], module: Localizer, labels: Sequence[str], preprocessing: Preprocessing
) -> None:
    """Write a checkpoint; the file appears whole or not at all. Raises OnnxplainError where it cannot be written."""
    checkpoint = LocalizerCheckpoint(module, tuple(labels), preprocessing)
    tree = {
        "kind": _KIND,
        "version": _VERSION,
        "config": asdict(module.config),
        "labels": list(checkpoint.labels),
        "preprocessing": asdict(preprocessing),
        "state": {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()},
    }
    destination = Path(path)
    temporary = _beside(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            torch.save(tree, stream)
        temporary.replace(destination)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raise OnnxplainError where a checkpoint cannot be written to `path`; call it before a long training.

    A checkpoint that is already there stays.
    """
    destination = Path(path)
    try:
        if destination.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(destination)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def load_checkpoint(path: str | os.PathLike[str]) -> LocalizerCheckpoint:
    """Read a checkpoint of `onnxplain train`; nothing pickled in it is executed.

    Raises OnnxplainError for a file that is missing, truncated, or something else than such a checkpoint.
    """
    try:
        with Path(path).open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise _foreign(path, "not a PyTorch file, or a truncated one")
            stream.seek(0)
            tree = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        raise OnnxplainError(f"{path}: cannot read the checkpoint ({error.strerror or error})") from error
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise _foreign(path, "an archive that holds more than plain tensors, or a damaged one") from error
    if not isinstance(tree, dict) or tree.get("kind") != _KIND:
        raise _foreign(path, "a PyTorch file of another kind")
    if tree.get("version") != _VERSION:
        raise _foreign(path, f"a checkpoint of version {tree.get('version')}, this onnxplain reads {_VERSION}")
    try:
        module = Localizer(LocalizerConfig(**tree["config"]))
        module.load_state_dict(tree["state"])
        checkpoint = LocalizerCheckpoint(module.eval(), tree["labels"], Preprocessing(**tree["preprocessing"]))
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _foreign(path, "a checkpoint whose parts do not fit each other") from error
    return checkpoint


def _beside(destination: Path) -> Path:
    """A temporary name in the folder of `destination`: a rename is atomic only within one file system."""
    return destination.with_name(f".{destination.name}.{os.getpid()}.part")


def _unwritable(path: str | os.PathLike[str], error: OSError) -> OnnxplainError:
    return OnnxplainError(f"{path}: cannot write the checkpoint ({error.strerror}): choose another path")


def _foreign(path: str | os.PathLike[str], found: str) -> OnnxplainError:
    return OnnxplainError(f"{path}: {found}; expected a checkpoint written by `onnxplain train`")
