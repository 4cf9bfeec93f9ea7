"""Targets of a run that say more than an index: read from run.json, and checked against the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.errors import ImageError
from onnxplain.explanations.image_arguments import read_image

if TYPE_CHECKING:
    from onnxplain.explanations.questions import Question
    from onnxplain.runtime import Engine
    from onnxplain.runtime.heads.aim import Aim


def read_aim(described: Mapping[str, Any], folder: Path) -> Aim:
    """The aim that a question of run.json describes."""
    from onnxplain.runtime.heads.aim import Aim

    like, region = described["like"], described["region"]
    return Aim(
        described["target"],
        described["against"],
        None if like is None else str(folder / like["file"]),
        None if region is None else tuple(region),
    )


def check_aims(
    engine: Engine, questions: Sequence[Question], sources: Sequence[Path], max_megapixels: float | None
) -> None:
    """Place every region, pixel and reference image on every image, before anything is written.

    Raises OnnxplainError for the first that does not fit. Images that cannot be read are left to the run. Questions
    without such targets cost nothing.
    """
    from onnxplain.explainers.aimed.placing import Placer, cached_view

    placers: dict[bool, Placer] = {}
    asked = []
    # What a target of a detector means depends on what is found in each image.
    for question in () if engine.detector is not None else questions:
        aim = engine.parse_target(question.target)
        if aim.like is not None or aim.region is not None or aim.pixel_xy is not None:
            differentiated = bool(getattr(question.build(engine), "differentiates", False))
            asked.append((placers.setdefault(differentiated, Placer(engine, differentiated=differentiated)), aim))
    for source in sources if asked else ():
        try:
            view = cached_view(engine, read_image(engine, source, max_megapixels))
        except ImageError:
            continue
        for placer, aim in asked:
            placer.place(aim, view)
