"""A target of an image as a target of one of its copies: settled on the image, and moved with the copy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from onnxplain.errors import UnsupportedError
from onnxplain.explainers.aimed.placing import name_aim
from onnxplain.runtime.heads.aim import Aim
from onnxplain.runtime.heads.target_text import NOT_PREFIX, PIXEL_MARK, parse_target
from onnxplain.runtime.target import PREDICTED_CLASS, Target

if TYPE_CHECKING:
    from onnxplain.explainers.copies.moved_copy import MovedCopy
    from onnxplain.explainers.explainer import Explainer
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.engine import Engine


def check_movable(explainer: Explainer, engine: Engine | None, target: Target) -> None:
    """Raise UnsupportedError for a target that is another number in every copy: the coordinate of a box.

    Also for an aim that the explainer does not take.
    """
    if isinstance(target, Aim) and not target.is_bare and not explainer.takes_aims:
        raise UnsupportedError(
            f"{explainer.name}: found against, like or region, expected a target alone: leave it out, or use grad-cam"
        )
    found = None if engine is None else parse_target(engine.spec, target)
    if engine is not None and found is not None and found.head.kind == "box":
        raise UnsupportedError(
            f"test_time: found target {name_aim(engine, found)}, a coordinate, which is another number in every copy, "
            "expected another target: leave test_time out"
        )


def move_target(target: Target, first: Explanation, copy: MovedCopy, engine: Engine | None) -> Target:
    """The target for a copy. `first`: the explanation of the image itself, which knows a predicted entry.

    A region moves with the copy, and so does the pixel of ``LABEL@X,Y``, whose connected region is that of the copy.
    """
    aim = target if isinstance(target, Aim) else Aim(target if isinstance(target, int | str) else None)
    sign, pixel_xy = 1, None
    if engine is not None:
        found = parse_target(engine.spec, target)
        sign, pixel_xy = found.sign, found.pixel_xy
    elif isinstance(aim.target, str) and aim.target.startswith(NOT_PREFIX):
        sign = -1
    settled: int | str | None = first.target
    if sign < 0 or pixel_xy is not None:
        settled = str(aim.target)
        if settled == f"{NOT_PREFIX}{PREDICTED_CLASS}":
            settled = f"{NOT_PREFIX}{first.target}"
    if pixel_xy is not None:
        x, y = copy.move_pixel(*pixel_xy)
        settled = f"{str(settled).rpartition(PIXEL_MARK)[0]}{PIXEL_MARK}{x:g},{y:g}"
    region = None if aim.region is None else copy.move_box(aim.region)
    moved = replace(aim, target=settled, region=region)
    return settled if moved.is_bare else moved
