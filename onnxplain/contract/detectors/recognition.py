"""Which layout the outputs of a graph fit, and what every row lacks where none or several do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from onnxplain.contract.detectors.detector_spec import DetectorSpec, LayoutEvidence
from onnxplain.contract.detectors.graph_outputs import GraphOutputs
from onnxplain.contract.detectors.hints import DETECTOR_TASKS, DetectorHints
from onnxplain.contract.detectors.lack import Lack, LackKind
from onnxplain.contract.detectors.layout import DetectorLayout
from onnxplain.contract.detectors.matching import match
from onnxplain.contract.detectors.output_shape import Circumstances
from onnxplain.contract.detectors.table import LAYOUTS
from onnxplain.errors import OnnxplainError

_MOST_COLUMNS = 64
_LACKS_SHOWN = 3


@dataclass(frozen=True)
class NoDetector:
    """No layout fits, or several do.

    `lacks`: what each row lacks, by its name. `fitting`: the rows that fit. `holds_boxes`: whether outputs look like
    boxes with their scores all the same. `is_said`: whether metadata say that it is a detector. `stated`: the layout
    that the user states. `raw_heads`: whether the outputs are YOLO's maps of anchors, [N, A, h, w, 5 + C].
    """

    lacks: Mapping[str, Lack] = field(default_factory=dict)
    fitting: tuple[str, ...] = ()
    holds_boxes: bool = False
    is_said: bool = False
    stated: str | None = None
    raw_heads: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether the model is a detector that cannot be read, rather than no detector."""
        looks_like_one = self.holds_boxes or self.raw_heads or bool(self.fitting)
        return looks_like_one or self.is_said or self.stated is not None

    def __str__(self) -> str:
        if self.stated is not None:
            return (
                f"found outputs that do not fit the layout {self.stated} ({self.lacks[self.stated]}), expected those "
                "of docs/detectors.md: state another layout with --detector, or leave it out"
            )
        if self.fitting:
            return (
                f"found a detector whose outputs fit several layouts ({', '.join(self.fitting)}), expected one: "
                "choose it with --detector LAYOUT (detector=…)"
            )
        if self.raw_heads:
            return (
                "found the maps of YOLO's anchors before they are decoded, expected decoded boxes: export the model "
                "with them (YOLOv7: --grid; YOLOv5: without --train)"
            )
        nearest = sorted(self.lacks, key=self._distance)
        shown = [f"{name} ({self.lacks[name]})" for name in nearest[:_LACKS_SHOWN]]
        others = nearest[_LACKS_SHOWN:]
        rest = f"; further from it: {', '.join(others)}" if others else ""
        if not self.is_refused:
            return f"as a detector it fits no layout: {'; '.join(shown)}{rest}"
        advice = "export the model in one of these layouts" if self.is_said else "choose one with --detector LAYOUT"
        return f"found a detector of no known layout, expected one of these: {'; '.join(shown)}{rest}: {advice}"

    def _distance(self, name: str) -> tuple[bool, int]:
        """For sorting: a layout whose names are there is nearer than any other."""
        is_named = LAYOUTS[name].is_named and self.lacks[name].kind is not LackKind.NAME
        return not is_named, -self.lacks[name].nearness


def check_layout_name(name: str) -> DetectorLayout:
    """The row of a layout. Raises OnnxplainError for an unknown name; the message lists all."""
    if name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise OnnxplainError(f"detector: found {name!r}{hint}, expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def recognise(
    end: GraphOutputs, size_hw: tuple[int, int] | None, hints: DetectorHints | None = None
) -> DetectorSpec | NoDetector:
    """The detector that the outputs of a graph make up; else what each layout lacks.

    `size_hw`: height and width of the input, None if they are open. The order: the layout that the user states;
    metadata of Ultralytics, which leave only its layouts; then names, shapes and operators. Where these leave several,
    Hugging Face's model type decides, or the number of labels. The values of the outputs are never looked at. Raises
    OnnxplainError for a stated layout that does not exist.
    """
    hints = hints or DetectorHints()
    known = Circumstances(size_hw, more_columns=_mask_coefficients(end))
    if hints.stated is not None:
        found = match(check_layout_name(hints.stated), end, replace(known, lenient=True))
        if isinstance(found, Lack):
            return NoDetector({hints.stated: found}, stated=hints.stated)
        return _with_evidence(found, LayoutEvidence("stated", hints.stated))
    rows = {name: row for name, row in LAYOUTS.items() if not hints.is_ultralytics_detector or row.ultralytics}
    if hints.is_ultralytics_detector:
        known = replace(known, classes=hints.classes, more_columns=0 if hints.task == "detect" else None)
    elif hints.task is not None:
        return NoDetector()
    answers = {name: match(row, end, known) for name, row in rows.items()}
    if hints.end2end is not None:
        answers |= {
            name: Lack(LackKind.METADATA, f"end2end is {hints.end2end}")
            for name, answer in answers.items()
            if rows[name].any_count and (name == "end2end") != hints.end2end and isinstance(answer, DetectorSpec)
        }
    fitting = {name: answer for name, answer in answers.items() if isinstance(answer, DetectorSpec)}
    lacks = {name: answer for name, answer in answers.items() if isinstance(answer, Lack)}
    if len(fitting) > 1:
        fitting = _decided(fitting, hints)
    if len(fitting) == 1:
        (spec,) = fitting.values()
        return _with_evidence(spec, *_said(hints))
    return NoDetector(
        lacks, tuple(fitting), _holds_boxes(end), hints.task in DETECTOR_TASKS, raw_heads=_holds_raw_heads(end)
    )


def _decided(fitting: Mapping[str, DetectorSpec], hints: DetectorHints) -> dict[str, DetectorSpec]:
    """The layouts that are left of several: by Hugging Face's model type, else by the number of labels."""
    typed = {name: spec for name, spec in fitting.items() if hints.model_type in LAYOUTS[name].model_types}
    if typed:
        said = LayoutEvidence("Hugging Face", str(hints.model_type))
        return {name: _with_evidence(spec, said) for name, spec in typed.items()}
    counted = {name: spec for name, spec in fitting.items() if spec.classes == hints.classes}
    if hints.classes is not None and len(counted) == 1:
        count = LayoutEvidence("labels", str(hints.classes))
        return {name: _with_evidence(spec, count) for name, spec in counted.items()}
    return dict(fitting)


def _with_evidence(spec: DetectorSpec, *evidence: LayoutEvidence) -> DetectorSpec:
    return replace(spec, evidence=(*evidence, *spec.evidence))


def _said(hints: DetectorHints) -> list[LayoutEvidence]:
    return [LayoutEvidence("Ultralytics", f"task {hints.task or 'not named'}")] if hints.is_ultralytics_detector else []


def _mask_coefficients(end: GraphOutputs) -> int:
    """The number of prototypes of masks, if an output holds them ([N, P, h, w] beside one of three axes).

    Candidates of segmenting YOLO files have that many further columns.
    """
    prototypes = [output.dims for output in end.outputs if output.dims is not None and len(output.dims) == 4]
    dense = [output for output in end.outputs if output.dims is not None and len(output.dims) == 3]
    if len(end.outputs) == 2 and len(prototypes) == len(dense) == 1 and isinstance(prototypes[0][1], int):
        return prototypes[0][1]
    return 0


def _holds_boxes(end: GraphOutputs) -> bool:
    """Whether one output has 4 numbers or more for each entry of another: boxes, and scores that are no classes."""
    for boxes in end.outputs:
        if boxes.dims is None or len(boxes.dims) != 3:
            continue
        _, count, columns = boxes.dims
        if not isinstance(count, int) or not isinstance(columns, int) or count < 2 or not 4 <= columns <= _MOST_COLUMNS:
            continue
        for scores in end.outputs:
            dims = scores.dims or ()
            if dims[1:] == (count, 1) or (dims[1:] == (count,) and columns == 4):
                return True
    return False


def _holds_raw_heads(end: GraphOutputs) -> bool:
    """Whether there are several outputs of five axes with equal anchors and columns, each level half as large."""
    heads = [output.dims for output in end.outputs if output.dims is not None and len(output.dims) == 5]
    whole = [dims for dims in heads if all(isinstance(side, int) for side in dims[1:])]
    return len(whole) > 1 and len({(dims[1], dims[4]) for dims in whole}) == 1 and len(set(whole)) == len(whole)
