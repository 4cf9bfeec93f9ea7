"""One training, from its first epoch or from a stopped state, to its checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from onnxplain.contract import Preprocessing
from onnxplain.files.lock import lock_output
from onnxplain.training.checkpoint import load_checkpoint, require_writable, save_checkpoint
from onnxplain.training.localizer import Localizer
from onnxplain.training.loop import LoopState, ProgressCallback, fit
from onnxplain.training.loop_config import LoopConfig
from onnxplain.training.score import Score
from onnxplain.training.state import StateFile
from onnxplain.training.step import TrainBatch


@dataclass(frozen=True, eq=False)
class Training:
    """A training that is ready to run: network, images and options.

    ``batches(epoch)`` gives the `loop.steps` batches of an epoch, always the same ones. `validate` scores the module
    after each epoch, `test` the best one at the end; None without test images. `data`: identifies the images,
    plain values by name.
    """

    module: Localizer
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    loop: LoopConfig
    batches: Callable[[int], Iterable[TrainBatch]]
    validate: Callable[[Localizer], Score]
    test: Callable[[Localizer], Score] | None
    data: Mapping[str, object]

    def run(
        self,
        checkpoint_path: str | os.PathLike[str],
        *,
        resume: bool = False,
        restart: bool = False,
        progress: ProgressCallback | None = None,
    ) -> TrainingReport:
        """Train, and keep the best weights in `checkpoint_path`.

        While it runs, ``<checkpoint_path>.state`` holds what `resume` needs: a training that is killed and resumed ends
        with the same weights and scores as one that is not. Raises OnnxplainError for a path that cannot be written,
        if another process trains to this path, if there is no state to resume or it belongs to another training, and if
        there is a state but neither `resume` nor `restart`, which drops it.
        """
        require_writable(checkpoint_path)
        with lock_output(Path(checkpoint_path)):
            return self._run(Path(checkpoint_path), resume, restart, progress)

    def _run(self, path: Path, resume: bool, restart: bool, progress: ProgressCallback | None) -> TrainingReport:
        kept = StateFile(path.with_name(f"{path.name}.state"), self._identity())
        if not (resume or restart):
            kept.refuse_stopped()
        if restart:
            kept.remove()
        begin, spent = kept.load() if resume else (None, 0.0)
        started = time.perf_counter() - spent

        def keep_state(state: LoopState) -> None:
            kept.save(state, time.perf_counter() - started)

        validation = fit(
            self.module,
            self.batches,
            self.validate,
            self.loop,
            on_best=lambda _: save_checkpoint(path, self.module, self.labels, self.preprocessing),
            on_state=keep_state,
            resume=begin,
            progress=progress,
        )
        seconds = time.perf_counter() - started
        test = None if self.test is None else self.test(load_checkpoint(path).module)
        kept.remove()
        return TrainingReport(
            checkpoint=path,
            parameters=sum(parameter.numel() for parameter in self.module.parameters()),
            seed=self.loop.seed,
            epochs=self.loop.epochs,
            seconds=seconds,
            validation=validation,
            test=test,
        )

    def _identity(self) -> dict[str, object]:
        return {
            **self.data,
            "labels": self.labels,
            **asdict(self.module.config),
            **asdict(self.loop),
            "preprocessing": asdict(self.preprocessing),
        }


@dataclass(frozen=True)
class TrainingReport:
    """Result of a training. `validation`: the score that chose the kept weights; `test`: the score of these weights on
    the test images, None without test images. `seconds` include the time before a training was resumed."""

    checkpoint: Path
    parameters: int
    seed: int
    epochs: int
    seconds: float
    validation: Score
    test: Score | None
