"""The picture of an explanation, and the words on it: its title, the label of its box, the ends of its colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from onnxplain.explainers.drawing.figure import Figure, HeatStyle
from onnxplain.explainers.drawing.marks import Mark
from onnxplain.runtime.arrays import ByteArray
from onnxplain.runtime.box import Corners

if TYPE_CHECKING:
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.explainers.regions import Regions

# A box is drawn dashed if it covers this share of what the model saw, or if the map is less exact than this.
NEARLY_ALL = 0.95
LARGEST_ERROR = 0.2

BoxOrigin = Literal["head", "heat", "detection"]
_CAPTIONS: dict[BoxOrigin, str] = {"head": "box head", "detection": "detection"}


@dataclass(frozen=True)
class DrawnBox:
    """The box on a picture, x1, y1, x2, y2 in pixels of the image, and where it came from.

    `doubt`: why it says little, in a few words; empty if nothing speaks against it.
    """

    xyxy: Corners
    origin: BoxOrigin
    doubt: str = ""


def draw_explanation(
    explanation: Explanation,
    image_hwc: ByteArray,
    regions: Regions,
    style: HeatStyle,
    head_box: Corners | None = None,
    assumed: Sequence[str] = (),
) -> tuple[ByteArray, DrawnBox | None]:
    """The explanation over its image, uint8 (H, W, 3) RGB with title and colour bar, and the box in it.

    The box is that of the explained detection, else `head_box`, that of the box head, else that of the largest of the
    `regions`. `assumed`: the parts of the preprocessing that are assumed, which the title says.
    """
    box = _drawn_box(explanation, regions, head_box)
    marks = () if box is None else (Mark(box.xyxy, box_caption(box, regions.level), dashed=bool(box.doubt)),)
    scale = scale_of(explanation, style.largest)
    figure = Figure(title_of(explanation, assumed), explanation.window, marks, scale, style)
    return figure.draw(image_hwc, explanation.heatmap), box


def title_of(explanation: Explanation, assumed: Sequence[str] = ()) -> tuple[str, ...]:
    """The lines above a picture: what is explained, with its score; then method, layer, accuracy and doubts.

    `assumed`: the parts of the preprocessing that are assumed.
    """
    what = f"{explanation.label} · {_short_score(explanation)}"
    if not explanation.uses_target:
        what = f"no target: {explanation.method} shows what is strongest, whatever the class"
    elif explanation.detection is not None:
        what = f"{explanation.target_name} · {_short_score(explanation)}"
    elif explanation.target_name != explanation.label:
        what = f"{explanation.target_name}, with {what}"
    how = [explanation.method if explanation.layer is None else f"{explanation.method} at {explanation.layer}"]
    if explanation.status != "ok":
        how.append(explanation.status.replace("_", " "))
    if explanation.report is not None and explanation.report.caution:
        how.append(explanation.report.caution)
    if explanation.report is not None and (summary := explanation.report.summary()):
        how.append(summary)
    doubts = f"preprocessing assumed: {', '.join(assumed)}" if assumed else ""
    return what, " · ".join(how), doubts


def _short_score(explanation: Explanation) -> str:
    """The score with two decimals; a probability that would round to 0 is "<0.01"."""
    text = explanation.score_text()
    return "<0.01" if text == "0.00" and explanation.score > 0 else text


def scale_of(explanation: Explanation, largest: float = 1.0) -> tuple[str, str, str] | None:
    """The texts below the colour bar, from no heat to the most; None for a map without heat.

    `largest`: the heat of the hottest pixel on a scale that several maps share.
    """
    if explanation.status != "ok":
        return None
    low = explanation.no_heat
    high = low + (float(explanation.shown.max()) - low) / largest
    return f"{low:.3g}", explanation.unit, f"{high:.3g}"


def doubt_of(explanation: Explanation, xyxy: Corners) -> str:
    """Why a box says little; empty if nothing speaks against it."""
    if explanation.status != "ok":
        return explanation.status.replace("_", " ")
    left, top, right, bottom = explanation.frame.visible_xyxy
    x1, y1, x2, y2 = xyxy
    covered = max(0.0, min(x2, right) - max(x1, left)) * max(0.0, min(y2, bottom) - max(y1, top))
    if covered >= NEARLY_ALL * (right - left) * (bottom - top):
        return "covers nearly everything"
    error = None if explanation.report is None else explanation.report.map_error
    if error is not None and error > LARGEST_ERROR:
        return f"map uncertain: error {100 * error:.0f} %"
    return ""


def box_caption(box: DrawnBox, level: float) -> str:
    """The label of a box: where it came from, and what speaks against it."""
    origin = _CAPTIONS.get(box.origin, f"heat ≥ {100 * level:.0f} %")
    return f"{origin}, {box.doubt}" if box.doubt else origin


def _drawn_box(explanation: Explanation, regions: Regions, head_box: Corners | None) -> DrawnBox | None:
    if explanation.detection is not None:
        return DrawnBox(explanation.detection.xyxy, "detection")
    if head_box is not None:
        # A box of the head does not depend on the map, so the map's doubts are not its own.
        return DrawnBox(head_box, "head")
    if not len(regions):
        return None
    x1, y1, x2, y2 = (float(side) for side in regions.xyxy[0])
    return DrawnBox((x1, y1, x2, y2), "heat", doubt_of(explanation, (x1, y1, x2, y2)))
