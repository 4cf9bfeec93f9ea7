"""The tally of a RISE sampling: everything needed to continue it later, as a value or a file."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.aimed.placed_target import PlacedTarget
from onnxplain.explainers.masked.explained_output import ExplainedKind
from onnxplain.explainers.rise.mask_sums import MaskSums
from onnxplain.files.atomic import write_atomically
from onnxplain.files.special import refuse_special
from onnxplain.runtime.arrays import FloatArray

# Masks are added to the sums in blocks of this size, even if a run is interrupted, so the order of additions is fixed.
BLOCK = 64
# Files without a number have the first format. The second has sums over 256 components.
_FIRST_FORMAT, _FORMAT = 1, 2


@dataclass(frozen=True)
class TallyKey:
    """What a tally belongs to: the masks, the masked image, and the targets whose scores weight the masks.

    `image` is a hash of the model's input and of its fill, see `hash_image`; `aims` one of what stands beside the
    targets, see `hash_aims`. The model itself is not part of the key.
    """

    seed: int
    grid: int
    keep: float
    estimator: str
    explain_output: ExplainedKind
    input_size_hw: tuple[int, int]
    targets: tuple[int, ...]
    image: str
    aims: str = ""


@dataclass(frozen=True, eq=False)
class RiseTally:
    """Masks 0 … `masks` − 1 and their scores: `sums` over whole blocks of 64, `tail` float32 (m, T), m < 64 scores."""

    key: TallyKey
    sums: MaskSums
    tail: FloatArray

    @property
    def masks(self) -> int:
        """The number of masks in the tally."""
        return int(self.sums.masks.sum()) + len(self.tail)

    def check(self, key: TallyKey) -> None:
        """Raise OnnxplainError, with the first difference, unless the tally belongs to `key`."""
        for field in fields(TallyKey):
            found, expected = getattr(self.key, field.name), getattr(key, field.name)
            if found != expected:
                raise OnnxplainError(
                    f"tally: found {field.name} {found}, expected {expected}: continue with the same parameters, image "
                    "and target, or start again without the tally"
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tally as .npz, completely or not at all. Raises OnnxplainError if that fails."""
        stream = io.BytesIO()
        np.savez(
            stream,
            format=np.array(_FORMAT),
            key=np.array(json.dumps(asdict(self.key))),
            tail=self.tail,
            **vars(self.sums),
        )
        write_atomically(path, stream.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RiseTally:
        """Read a file that `save` wrote. Raises OnnxplainError for anything else, also for another version's tally."""
        try:
            refuse_special(path)
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = int(arrays["format"]) if "format" in arrays else _FIRST_FORMAT
                if "key" in arrays and found != _FORMAT:
                    raise OnnxplainError(
                        f"{path}: found a tally of format {found}, expected format {_FORMAT}: its sums are those of "
                        "another version of onnxplain; start again without the tally"
                    )
                sums = MaskSums(**{field.name: arrays[field.name] for field in fields(MaskSums)})
                entries = json.loads(str(arrays["key"]))
                pairs = {name: tuple(entries[name]) for name in ("input_size_hw", "targets")}
                return cls(TallyKey(**{**entries, **pairs}), sums, arrays["tail"])
        except OSError as error:
            raise OnnxplainError(
                f"{path}: cannot be read ({error.strerror or error}), expected a saved tally: check the path"
            ) from error
        except (ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise OnnxplainError(f"{path}: found no tally, expected a file that RiseTally.save wrote") from error


def hash_image(pixels: FloatArray, hidden: FloatArray) -> str:
    """SHA-256 of the model's input (C, h, w) and of the fill of masked pixels."""
    digest = hashlib.sha256()
    for array in (pixels, hidden):
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def hash_aims(placed: Sequence[PlacedTarget]) -> str:
    """SHA-256 of the signs, comparisons, references and regions of targets; empty where all are single entries."""
    if all(each.is_single and each.reference is None and each.region is None for each in placed):
        return ""
    digest = hashlib.sha256()
    for each in placed:
        digest.update(f"{each.sign} {each.against}".encode())
        for array in (each.reference, each.region):
            digest.update(
                b"none" if array is None else str(array.shape).encode() + np.ascontiguousarray(array).tobytes()
            )
    return digest.hexdigest()
