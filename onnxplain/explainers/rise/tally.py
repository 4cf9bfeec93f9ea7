"""How far a RISE map has come: everything needed to go on from there, in a value or a file."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.atomic import write_atomically
from onnxplain.explainers.masked.explained_output import ExplainOutput
from onnxplain.explainers.rise.mask_sums import MaskSums
from onnxplain.runtime.arrays import FloatArray

# Sums grow by so many masks at once, wherever a run is broken off: the same additions in the same order.
BLOCK = 64


@dataclass(frozen=True)
class TallyKey:
    """What a tally is of: the masks, what they hide, and whose scores weigh them.

    `image` is a hash of the model's input and of what hides it, see `hash_image`. The model itself is not known.
    """

    seed: int
    grid: int
    keep: float
    estimator: str
    explain_output: ExplainOutput
    input_size_hw: tuple[int, int]
    targets: tuple[int, ...]
    image: str


@dataclass(frozen=True, eq=False)
class RiseTally:
    """Masks 0 … `masks` − 1 and their scores: `sums` over whole blocks of 64, `tail` float32 (m, T), m < 64 scores."""

    key: TallyKey
    sums: MaskSums
    tail: FloatArray

    @property
    def masks(self) -> int:
        """How many masks it holds."""
        return int(self.sums.masks.sum()) + len(self.tail)

    def check(self, key: TallyKey) -> None:
        """Raise OnnxplainError, naming the first difference, unless this is a tally of `key`."""
        for field in fields(TallyKey):
            found, expected = getattr(self.key, field.name), getattr(key, field.name)
            if found != expected:
                raise OnnxplainError(
                    f"tally: found {field.name} {found}, expected {expected}: go on with the parameters, the image and "
                    "the target that it was begun with, or begin anew"
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as .npz, whole or not at all. Raises OnnxplainError where that cannot be."""
        stream = io.BytesIO()
        np.savez(stream, key=np.array(json.dumps(asdict(self.key))), tail=self.tail, **vars(self.sums))
        write_atomically(path, stream.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RiseTally:
        """Read what `save` wrote. Raises OnnxplainError for anything else."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                sums = MaskSums(**{field.name: arrays[field.name] for field in fields(MaskSums)})
                entries = json.loads(str(arrays["key"]))
                pairs = {name: tuple(entries[name]) for name in ("input_size_hw", "targets")}
                return cls(TallyKey(**{**entries, **pairs}), sums, arrays["tail"])
        except OSError as error:
            raise OnnxplainError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise OnnxplainError(f"{path}: is not a tally, expected a file that RiseTally.save wrote") from error


def hash_image(pixels: FloatArray, hidden: FloatArray) -> str:
    """SHA-256 of the model's input (C, h, w) and of what masked pixels show."""
    digest = hashlib.sha256()
    for array in (pixels, hidden):
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
