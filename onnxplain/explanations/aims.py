"""Targets of a run that say more than an index: read from run.json, and checked against the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    """Place every region, pixel, reference image and label map on every image, before anything is written.

    Raises OnnxplainError for the first that does not fit. Images that cannot be read are left to the run. Questions
    without such targets cost nothing.
    """
    from onnxplain.explainers.aimed.placing import Placer, cached_view
    from onnxplain.explainers.masked.engine_box import view_of
    from onnxplain.explainers.masked.players import LEAST_PLAYERS, place_players

    placers: dict[bool, Placer] = {}
    asked = []
    # What a target of a detector means depends on what is found in each image.
    for question in () if engine.detector is not None else questions:
        aim = engine.parse_target(question.target)
        if aim.like is not None or aim.region is not None or aim.pixel_xy is not None:
            differentiated = bool(getattr(question.build(engine), "differentiates", False))
            asked.append((placers.setdefault(differentiated, Placer(engine, differentiated=differentiated)), aim))
    maps = list(dict.fromkeys(each for question in questions for each in _label_maps(question)))
    for source in sources if asked or maps else ():
        try:
            image = read_image(engine, source, max_megapixels)
        except ImageError:
            continue
        for label_map in maps:
            place_players(label_map, LEAST_PLAYERS, view_of(engine, image, "mean"))
        view = cached_view(engine, image)
        for placer, aim in asked:
            placer.place(aim, view)


def _label_maps(question: Question) -> Iterator[Path]:
    """The file of a question's label map."""
    from onnxplain.explainers.masked.players import is_kind

    players = dict(question.options).get("players")
    if isinstance(players, str | Path) and not is_kind(players):
        yield Path(players)
