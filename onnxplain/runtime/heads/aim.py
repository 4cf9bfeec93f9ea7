"""A target with what stands beside it: what it is compared with, a reference image, a region of the photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError
from onnxplain.runtime.box import Corners
from onnxplain.runtime.detection.detections import Detection

if TYPE_CHECKING:
    from onnxplain.runtime.image import ImageLike


@dataclass(frozen=True)
class Aim:
    """What is explained of an image, as the user says it.

    `target`: see `parse_target`; None: the default head's best entry. `against`: the entry whose y is subtracted (why
    this rather than that). `like`: the image whose embedding is the reference of a cosine. `region`: x1, y1, x2, y2 in
    pixels of the photo, the part of a mask that is explained. Raises OnnxplainError for a region that is empty.
    """

    target: int | str | None = None
    against: int | str | None = None
    like: ImageLike | None = None
    region: Corners | None = None

    def __post_init__(self) -> None:
        if self.region is None:
            return
        numbers: Sequence[Any] = self.region
        try:
            x1, y1, x2, y2 = (float(side) for side in numbers)
        except (TypeError, ValueError):
            x1 = y1 = x2 = y2 = math.nan
        if not (x1 < x2 < math.inf and y1 < y2 < math.inf and math.isfinite(x1 + y1)):
            raise OnnxplainError(f"region: found {self.region!r}, expected x1, y1, x2, y2 in pixels, x1 < x2, y1 < y2")
        object.__setattr__(self, "region", (x1, y1, x2, y2))

    @property
    def is_bare(self) -> bool:
        """Whether nothing stands beside the target."""
        return self.against is None and self.like is None and self.region is None


def beside(
    target: int | str | Aim | Detection | None,
    against: int | str | None = None,
    like: ImageLike | None = None,
    region: Corners | None = None,
) -> int | str | Aim | Detection | None:
    """A target together with what is given beside it; the target itself if that is nothing.

    Raises OnnxplainError for an `Aim` that says more than the target already, and for a `Detection`.
    """
    if against is None and like is None and region is None:
        return target
    if isinstance(target, Detection):
        raise OnnxplainError("target: found a Detection beside against, like or region, expected it alone")
    if isinstance(target, Aim):
        if not target.is_bare:
            raise OnnxplainError("target: found an Aim beside against, like or region, expected one of the two")
        target = target.target
    return Aim(target, against, like, region)
