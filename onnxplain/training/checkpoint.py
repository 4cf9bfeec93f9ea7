"""Checkpoints of localizers: everything to rebuild and export one; read without running pickled code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError
from onnxplain.training.archive import Archive
from onnxplain.training.localizer import Localizer, LocalizerConfig

_ARCHIVE = Archive("onnxplain localizer", 1, "checkpoint", "`onnxplain train`")


@dataclass(frozen=True, eq=False)
class LocalizerCheckpoint:
    """A trained localizer in eval mode, one label per class, and the preprocessing used in training."""

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
    """Write a checkpoint, whole or not at all. Raises OnnxplainError if it cannot be written."""
    checkpoint = LocalizerCheckpoint(module, tuple(labels), preprocessing)
    tree = {
        "config": asdict(module.config),
        "labels": list(checkpoint.labels),
        "preprocessing": asdict(preprocessing),
        "state": {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()},
    }
    _ARCHIVE.write(path, tree)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raise OnnxplainError if a checkpoint cannot be written to `path`; call it before a long training.

    An existing checkpoint is not changed.
    """
    _ARCHIVE.require_writable(path)


def load_checkpoint(path: str | os.PathLike[str]) -> LocalizerCheckpoint:
    """Read a checkpoint of `onnxplain train`; nothing pickled in it is executed.

    Raises OnnxplainError for a file that is missing, truncated or not such a checkpoint, and if the library of its
    backbone is missing.
    """
    tree = _ARCHIVE.read(path)
    try:
        module = Localizer(LocalizerConfig(**tree["config"]))
        module.load_state_dict(tree["state"])
        return LocalizerCheckpoint(module.eval(), tree["labels"], Preprocessing(**tree["preprocessing"]))
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _ARCHIVE.foreign(path, "found a checkpoint whose parts do not fit each other") from error
