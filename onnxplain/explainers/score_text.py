"""The score of an explained entry as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from onnxplain.runtime.answers import Values

if TYPE_CHECKING:
    from onnxplain.runtime.answers import Answer


def write_score(score: float, answer: Answer | None, digits: int = 2) -> str:
    """A probability, a cosine or a coordinate with `digits` decimals; a number of a head of values with its unit.

    A cosine without a reference is "none". `answer`: that of the explained head; None: the scores of a callable.
    """
    if math.isnan(score):
        return "none" if answer is not None and answer.head.kind == "embedding" else "nan"
    if isinstance(answer, Values):
        return f"{score:.4g} {answer.unit}" if answer.unit else f"{score:.4g}"
    return f"{score:.{digits}f}"
