"""An engine that is slow, fails or kills its process at images of certain names, and a driver to be killed itself.

python -m tests.batch.trouble MODEL SOURCE OUT WORKERS
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnxplain import Engine
from onnxplain.batch.folder import BatchCounts
from onnxplain.batch.progress import Moment
from onnxplain.batch.run_batch import BatchRequest, PlanChoice, run_batch
from onnxplain.explanations.open_model import OpenedModel
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.explanations.questions import plan_questions


class TroubledEngine(Engine):
    """``kill…``: SIGKILL; ``slow…``: a pause; a folder ``once`` beside the image: SIGKILL, as often as it has files."""

    def read(self, image: Any, *arguments: Any) -> Any:
        if not isinstance(image, Path):
            return super().read(image, *arguments)
        path = image
        if path.name.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name.startswith("slow"):
            time.sleep(0.05)
        for token in sorted(path.parent.glob(f"once/{path.stem}*")):
            token.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(image, *arguments)


def request(
    model: Path,
    source: Path,
    output: Path,
    *,
    workers: int = 0,
    part_size: int = 8,
    methods: tuple[str, ...] = ("grad-cam",),
    targets: tuple[str, ...] = (),
    kind: type[Engine] = TroubledEngine,
    **options: Any,
) -> BatchRequest:
    engine = kind(model, threads=1)
    questions = plan_questions(engine, methods, targets, options)
    return BatchRequest(
        OpenedModel(engine, methods),
        OpenOptions(threads=1),
        questions,
        str(source),
        output,
        PlanChoice(part_size, 1),
        workers,
    )


def run(*arguments: Path, show: Callable[[Moment], None] = lambda moment: None, **more: Any) -> BatchCounts:
    return run_batch(request(*arguments, **more), show)


if __name__ == "__main__":
    run(*map(Path, sys.argv[1:4]), workers=int(sys.argv[4]))
