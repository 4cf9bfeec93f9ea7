"""An engine that is slow, fails or kills its process at images of certain names, and a driver to be killed itself.

python -m tests.batch.trouble MODEL SOURCE OUT WORKERS [METHOD …]          WORKERS: a number, or ray:NUMBER
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
from onnxplain.batch.ray_fleet import RayChoice
from onnxplain.batch.run_batch import BatchRequest, PlanChoice, run_batch
from onnxplain.batch.stores.output import LocalOutput, OutputPlace
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
    source: Path | str,
    output: Path | OutputPlace,
    *,
    workers: int = 0,
    ray: RayChoice | None = None,
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
        LocalOutput(output) if isinstance(output, Path) else output,
        PlanChoice(part_size, 1),
        workers,
        ray,
    )


def run(*arguments: Any, show: Callable[[Moment], None] = lambda moment: None, **more: Any) -> BatchCounts:
    return run_batch(request(*arguments, **more), show)


if __name__ == "__main__":
    # Workers import the engine's class by its module, which is not __main__ there.
    from tests.batch import trouble

    kind, _, count = sys.argv[4].rpartition(":")
    choice = RayChoice("local") if kind == "ray" else None
    options = {"masks": 64} if "rise" in sys.argv else {}
    methods = tuple(sys.argv[5:]) or ("grad-cam",)
    trouble.run(*map(Path, sys.argv[1:4]), workers=int(count), ray=choice, part_size=4, methods=methods, **options)
