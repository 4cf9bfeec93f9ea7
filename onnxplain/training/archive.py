"""Files of tensors and plain values; written whole or not at all, read without running pickled code."""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from onnxplain.errors import OnnxplainError
from onnxplain.files.atomic import open_beside, replacing
from onnxplain.files.special import refuse_special


@dataclass(frozen=True)
class Archive:
    """A type of file: `kind` and `version` are stored in the file, `noun` and `author` are used in error messages."""

    kind: str
    version: int
    noun: str
    author: str

    def write(self, path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
        """Write `tree`, whole or not at all. Raises OnnxplainError if the file cannot be written."""
        destination = Path(path)
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            with replacing(destination) as stream:
                torch.save({"kind": self.kind, "version": self.version, **tree}, stream)
        except OSError as error:
            raise self._unwritable(path, error) from error
        except RuntimeError as error:
            # What torch makes of an OSError, for example where the disk is full.
            reason = error.__context__ if isinstance(error.__context__, OSError) else error
            raise self._unwritable(path, reason) from error

    def require_writable(self, path: str | os.PathLike[str]) -> None:
        """Raise OnnxplainError if such a file cannot be written to `path`; call it before a long training.

        An existing file is not changed.
        """
        destination = Path(path)
        try:
            if destination.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            destination.parent.mkdir(parents=True, exist_ok=True)
            temporary, stream = open_beside(destination)
            stream.close()
            temporary.unlink()
        except OSError as error:
            raise self._unwritable(path, error) from error

    def read(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """The tree that `write` wrote; nothing pickled in the file is executed.

        Raises OnnxplainError for a file that is missing, truncated, or of another kind or version.
        """
        try:
            refuse_special(path)
            with Path(path).open("rb") as stream:
                if not zipfile.is_zipfile(stream):
                    raise self.foreign(path, "found a truncated file or no PyTorch file")
                stream.seek(0)
                tree = torch.load(stream, map_location="cpu", weights_only=True)
        except OSError as error:
            raise OnnxplainError(f"{path}: cannot read the {self.noun} ({error.strerror or error})") from error
        except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise self.foreign(path, "found a damaged file or one with more than plain tensors") from error
        if not isinstance(tree, dict) or tree.get("kind") != self.kind:
            raise self.foreign(path, "found a PyTorch file of another kind")
        if tree.get("version") != self.version:
            raise self.foreign(
                path, f"found a {self.noun} of version {tree.get('version')}, this onnxplain reads {self.version}"
            )
        return tree

    def foreign(self, path: str | os.PathLike[str], found: str) -> OnnxplainError:
        """The error for a file of another type or with other content."""
        return OnnxplainError(f"{path}: {found}; expected a {self.noun} written by {self.author}")

    def _unwritable(self, path: str | os.PathLike[str], error: Exception) -> OnnxplainError:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        return OnnxplainError(
            f"{path}: cannot write the {self.noun} ({reason}): check the disk, or choose another path"
        )
