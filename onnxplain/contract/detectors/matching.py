"""Whether the outputs of a graph fit one layout: names, axes, columns, numbers of candidates, operators."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from onnxplain.contract.detectors.detector_spec import DetectorSpec, LayoutEvidence
from onnxplain.contract.detectors.graph_outputs import GraphOutput, GraphOutputs
from onnxplain.contract.detectors.lack import Lack, LackKind
from onnxplain.contract.detectors.layout import DetectorLayout, LayoutOutput
from onnxplain.contract.detectors.output_shape import Circumstances, ReadShape, cell_counts, read_shape

# A file of hundreds of outputs has no end of choices; a detector has a handful.
_MOST_CHOICES = 100_000


@dataclass(frozen=True)
class _Fit:
    """One output in a place of the layout."""

    output: GraphOutput
    is_named: bool
    stride: int | None
    shape: ReadShape


def match(layout: DetectorLayout, end: GraphOutputs, known: Circumstances) -> DetectorSpec | Lack:
    """The detector, if the outputs fit the layout; else what is missing."""
    unmet = None if known.lenient else _unmet_operators(layout, end)
    lacks = [] if unmet is None else [unmet]
    for strides in layout.strides or ((),):
        found = _match_at(layout, end, known, strides)
        if isinstance(found, Lack) and known.lenient:
            nameless = _match_at(layout, end, replace(known, by_name=False), strides)
            found = nameless if isinstance(nameless, DetectorSpec) else found
        if isinstance(found, DetectorSpec) and unmet is None:
            return found
        if isinstance(found, Lack):
            lacks.append(found)
    # An output that is not there is worth more words than the operators of one that fits.
    return min(lacks, key=lambda lack: lack.nearness) if unmet else max(lacks, key=lambda lack: lack.nearness)


def _unmet_operators(layout: DetectorLayout, end: GraphOutputs) -> Lack | None:
    """What is wrong with the operators anywhere in the graph."""
    if end.operators is None:
        return None
    if layout.graph_holds and not end.operators.intersection(layout.graph_holds):
        return Lack(LackKind.OPERATORS, "the graph", " or ".join(layout.graph_holds))
    held = sorted(end.operators.intersection(layout.graph_lacks))
    return Lack(LackKind.OPERATORS, "the graph", f"no {' or '.join(held)}") if held else None


def _match_at(
    layout: DetectorLayout, end: GraphOutputs, known: Circumstances, strides: tuple[int, ...]
) -> DetectorSpec | Lack:
    """As `match`, for one choice of strides."""
    if strides and known.size_hw is None and not layout.is_named:
        return Lack(LackKind.SIZE)
    counts = None if known.size_hw is None or not strides else cell_counts(layout, known.size_hw, strides)
    places: list[list[_Fit | None]] = []
    lacks = []
    for wanted in layout.outputs:
        for level in range(len(strides)) if wanted.per_level else (None,):
            place = _Place(layout, wanted, _expected_count(counts, level), None if level is None else strides[level])
            fits = _fits(place, end.outputs, known)
            if not isinstance(fits, Lack):
                places.append([*fits])
            elif wanted.optional:
                places.append([None])
            else:
                lacks.append(fits)
    if lacks:
        return next((lack for lack in lacks if lack.kind is LackKind.CONFLICT), lacks[0])
    chosen = _choose(places)
    return chosen if isinstance(chosen, Lack) else _spec(layout, end, known, strides, chosen)


@dataclass(frozen=True)
class _Place:
    """A place of a layout that an output may take: at one level, or for all of them."""

    layout: DetectorLayout
    wanted: LayoutOutput
    count: int | None
    stride: int | None

    def is_named(self, output: GraphOutput) -> bool:
        """Whether the output has one of the names of this place."""
        return _has_name(self.wanted, output)

    def is_named_otherwise(self, output: GraphOutput) -> bool:
        """Whether the output has a name of another place, and none of this one."""
        others = (each for each in self.layout.outputs if each is not self.wanted)
        return not self.is_named(output) and any(_has_name(each, output) for each in others)

    def has_stride(self, output: GraphOutput) -> bool:
        """Whether the name of the output ends in the stride of this place."""
        return self.stride is not None and _last_number(output.name) == self.stride

    def has_other_stride(self, output: GraphOutput) -> bool:
        """Whether the name of the output ends in the stride of another level."""
        strides = {stride for strides in self.layout.strides for stride in strides}
        return self.stride is not None and _last_number(output.name) in strides - {self.stride}


def _last_number(name: str) -> int | None:
    """The number at the end of a name."""
    found = re.search(r"\d+$", name)
    return None if found is None else int(found[0])


def _expected_count(counts: list[int] | None, level: int | None) -> int | None:
    if counts is None:
        return None
    return sum(counts) if level is None else counts[level]


def _fits(place: _Place, outputs: Sequence[GraphOutput], known: Circumstances) -> list[_Fit] | Lack:
    """The outputs that can take a place; else what the nearest one lacks."""
    wanted = place.wanted
    fits, lacks = [], [Lack(LackKind.NAME, expected=wanted.names)] if wanted.named and not known.lenient else []
    for output in outputs:
        otherwise = place.is_named_otherwise(output) or (place.is_named(output) and place.has_other_stride(output))
        if not known.lenient and (otherwise or (wanted.named and not place.is_named(output))):
            continue
        found = _fit(place, output, known)
        if isinstance(found, _Fit):
            fits.append(found)
        else:
            lacks.append(found)
    nearest = max(lacks, key=lambda lack: lack.nearness, default=Lack(LackKind.AXES, "the outputs", wanted.axes[0]))
    for better in (
        [fit for fit in fits if known.by_name and fit.is_named and place.has_stride(fit.output)],
        [fit for fit in fits if known.by_name and fit.is_named],
        fits,
    ):
        if better:
            return better
    return nearest


def _fit(place: _Place, output: GraphOutput, known: Circumstances) -> _Fit | Lack:
    """One output in one place."""
    is_named, ends = place.is_named(output), place.wanted.ends
    shape = read_shape(place.layout, place.wanted, output, known, place.count)
    if isinstance(shape, Lack):
        contradicts = is_named and len(place.layout.outputs) > 1 and shape.kind is LackKind.COLUMNS
        return Lack(LackKind.CONFLICT, shape.found, shape.expected) if contradicts else shape
    if not known.lenient and output.ends is not None and not ends.is_met(output.ends):
        return Lack(LackKind.OPERATORS, _end_text(output), f"{ends.expected} at its end")
    return _Fit(output, is_named, place.stride, shape)


def _has_name(wanted: LayoutOutput, output: GraphOutput) -> bool:
    return bool(wanted.names) and re.fullmatch(wanted.names, output.name, re.IGNORECASE) is not None


def _end_text(output: GraphOutput) -> str:
    return f"{output.name} ({', '.join(sorted(output.ends or ())) or 'no operator'} at its end)"


def _choose(places: list[list[_Fit | None]]) -> tuple[_Fit | None, ...] | Lack:
    """One output for each place, each output once; all agree on classes and candidates."""
    choices = list(itertools.islice(_agreeing(places), 2))
    fits = [fit for choice in choices or places for fit in choice if fit is not None]
    texts = ", ".join(dict.fromkeys(fit.output.shape_text for fit in fits))
    if not choices:
        return Lack(LackKind.COUNT, texts, "the same number of")
    return choices[0] if len(choices) == 1 else Lack(LackKind.SEVERAL, texts)


def _agreeing(places: list[list[_Fit | None]]) -> Iterator[tuple[_Fit | None, ...]]:
    for choice in itertools.islice(itertools.product(*places), _MOST_CHOICES):
        fits = [fit for fit in choice if fit is not None]
        names = {fit.output.name for fit in fits}
        classes = {fit.shape.classes for fit in fits if fit.shape.classes is not None}
        # Where several outputs share the work without levels, each of them has all candidates.
        counts = {fit.shape.candidates for fit in fits if fit.shape.candidates is not None and fit.stride is None}
        if len(names) == len(fits) and len(classes) <= 1 and len(counts) <= 1:
            yield choice


def _spec(
    layout: DetectorLayout,
    end: GraphOutputs,
    known: Circumstances,
    strides: tuple[int, ...],
    chosen: tuple[_Fit | None, ...],
) -> DetectorSpec:
    fits = iter(chosen)
    groups = []
    for wanted in layout.outputs:
        group = [next(fits) for _ in (strides if wanted.per_level else (0,))]
        groups.append([fit for fit in group if fit is not None])
    present = [fit for group in groups for fit in group]
    read = {fit.output.name for fit in present}
    classes = [fit.shape.classes for fit in present if fit.shape.classes is not None]
    return DetectorSpec(
        layout_name=layout.name,
        outputs=tuple(tuple(fit.output.name for fit in group) for group in groups),
        classes=classes[0] if classes else None,
        candidates=_total(groups[0]),
        strides=strides,
        rest=max(fit.shape.rest for fit in present),
        ignored=tuple(output.shape_text for output in end.outputs if output.name not in read),
        evidence=_evidence(layout, end, known, present),
    )


def _total(group: Sequence[_Fit]) -> int | None:
    counts = [fit.shape.candidates for fit in group]
    return None if None in counts else sum(count for count in counts if count is not None)


def _evidence(
    layout: DetectorLayout, end: GraphOutputs, known: Circumstances, present: Sequence[_Fit]
) -> tuple[LayoutEvidence, ...]:
    """Names, shapes and operators that speak for the layout."""
    found = []
    if all(fit.is_named for fit in present):
        found.append(LayoutEvidence("names", ", ".join(fit.output.name for fit in present)))
    found.append(LayoutEvidence("shapes", ", ".join(fit.output.shape_text for fit in present)))
    ends = sorted({name for fit in present for name in fit.output.ends or ()})
    held = sorted((end.operators or frozenset()).intersection(layout.graph_holds))
    if (ends or held) and not known.lenient:
        found.append(LayoutEvidence("operators", ", ".join(dict.fromkeys([*ends, *held]))))
    return tuple(found)
