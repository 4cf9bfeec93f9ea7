"""The state of an unfinished training, in a file beside its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.training.archive import Archive
from onnxplain.training.loop import LoopState
from onnxplain.training.score import SCORE_TYPES, LocalizationScore

_ARCHIVE = Archive("onnxplain training", 1, "training state", "a stopped `onnxplain train`")


@dataclass(frozen=True, eq=False)
class StateFile:
    """The file with the state of a training while it runs.

    `identity`: everything that the training depends on, plain values by name; the state of another training is refused.
    """

    path: Path
    identity: Mapping[str, object]

    def save(self, state: LoopState, seconds: float) -> None:
        """Write the state after `seconds` of training, whole or not at all."""
        tree = {
            "identity": dict(self.identity),
            "seconds": seconds,
            "scores": [{"type": type(score).__name__, **asdict(score)} for score in state.scores],
            "module": state.module,
            "optimizer": state.optimizer,
            "schedule": state.schedule,
        }
        _ARCHIVE.write(self.path, tree)

    def load(self) -> tuple[LoopState, float]:
        """The state, and the seconds of training so far.

        Raises OnnxplainError if there is no file, if it belongs to another training (with the first difference), and
        for a file of another type. Nothing pickled in it is executed.
        """
        if not self.path.exists():
            raise OnnxplainError(
                f"{self.path}: found no training to resume, it ended or never began: leave --resume out"
            )
        tree = _ARCHIVE.read(self.path)
        found: Any = tree.get("identity")
        if not isinstance(found, dict):
            raise _ARCHIVE.foreign(self.path, "found a training state without the options of its training")
        for name in (*self.identity, *found):
            if found.get(name) != self.identity.get(name):
                raise OnnxplainError(
                    f"{self.path}: found a training with {name} {found.get(name)}, expected {self.identity.get(name)}: "
                    "resume with the same arguments, or start again without --resume"
                )
        try:
            scores = tuple(
                SCORE_TYPES[score.pop("type", LocalizationScore.__name__)](**score) for score in tree["scores"]
            )
            state = LoopState(scores, tree["module"], tree["optimizer"], tree["schedule"])
            return state, float(tree["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise _ARCHIVE.foreign(self.path, "found a training state whose parts do not fit each other") from error

    def refuse_stopped(self) -> None:
        """Raise OnnxplainError if the file exists: a new training would overwrite what a stopped one left."""
        if self.path.exists():
            raise OnnxplainError(
                f"{self.path}: found the state of a stopped training, expected none: continue it with --resume, or "
                "start again with --restart"
            )

    def remove(self) -> None:
        """Delete the file: the training has ended."""
        self.path.unlink(missing_ok=True)
