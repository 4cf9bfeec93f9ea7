"""The comparison: both models answer and explain each image, and the first one again with another seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.comparison.head_drift import COMPARED_KINDS, HeadDrift, answered_entry, has_compared_kind, head_drift
from onnxplain.comparison.image_drift import ImageDrift, MethodDrift
from onnxplain.comparison.map_drift import map_drift
from onnxplain.comparison.shared_heads import same_target, shared_entries, shared_heads
from onnxplain.comparison.unlike import Unlike, unlike
from onnxplain.errors import ImageError, UnsupportedError
from onnxplain.explanations.image_arguments import read_image
from onnxplain.explanations.questions import Question, plan_questions
from onnxplain.runtime.answers import BoxAnswer

if TYPE_CHECKING:
    from onnxplain.contract import ModelSpec
    from onnxplain.explainers import Explainer, Explanation
    from onnxplain.explanations.open_model import OpenedModel
    from onnxplain.explanations.progress_display import ProgressDisplay
    from onnxplain.runtime.answers import Answer
    from onnxplain.runtime.arrays import AnyArray
    from onnxplain.runtime.box import Corners


@dataclass(frozen=True, eq=False)
class ComparedImage:
    """One image: the numbers, and the explanations of both models they come from, with their questions.

    `boxes_xyxy`: those of the two box heads.
    """

    drift: ImageDrift
    source: Path
    pixels: AnyArray | None = None
    boxes_xyxy: tuple[Corners | None, Corners | None] = (None, None)
    explanations: tuple[tuple[Question, Explanation, Explanation], ...] = ()


@dataclass(frozen=True, eq=False)
class _Pair:
    """A question with the explainers of both models, and of the first with another seed, if the method has one."""

    question: Question
    first: Explainer
    second: Explainer
    reseeded: Explainer | None


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Two opened models and the questions for both. `unlike`: what differs, and what cannot be compared."""

    first: OpenedModel
    second: OpenedModel
    pairs: tuple[_Pair, ...]
    unlike: tuple[Unlike, ...] = field(default=())

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions that both models can answer."""
        return tuple(pair.question for pair in self.pairs)

    def images(
        self, sources: Sequence[Path], progress: ProgressDisplay, max_megapixels: float | None = None
    ) -> Iterator[ComparedImage]:
        """Compare one image after the other. One that cannot be read yields its error.

        Raises KeyboardInterrupt where the user stopped a method early: a map of fewer masks is not compared.
        """
        progress.expect(len(sources) * max(1, len(self.pairs)))
        for source in sources:
            progress.say(source.name)
            try:
                yield self._compare(source, progress, max_megapixels)
            except ImageError as error:
                yield ComparedImage(ImageDrift(str(source), error=str(error)), source)
                for _ in self.pairs:
                    progress.step()
            if not self.pairs:
                progress.step()

    def _compare(self, source: Path, progress: ProgressDisplay, max_megapixels: float | None) -> ComparedImage:
        engines = self.first.engine, self.second.engine
        pixels, others = (read_image(engine, source, max_megapixels) for engine in engines)
        specs = engines[0].spec, engines[1].spec
        answers, others_answers = engines[0].answers(pixels)[0], engines[1].answers(others)[0]
        heads = tuple(_drifts(specs, answers, others_answers))
        explained, drifts = [], []
        for pair in self.pairs:
            target = answered_entry(answers[0]) if pair.question.target is None else _index_of(pair.question)
            other_target = same_target(*specs, target)
            if other_target is not None:
                one = _explain(pair.first, pixels, target)
                two = _explain(pair.second, others, other_target)
                again = None if pair.reseeded is None else _explain(pair.reseeded, pixels, target)
                noise = None if again is None else map_drift(one, again)
                statuses = one.status, two.status
                drifts.append(MethodDrift(pair.question.method, one.target_name, map_drift(one, two), noise, statuses))
                explained.append((pair.question, one, two))
            progress.step()
        boxes = _box_of(answers), _box_of(others_answers)
        drift = ImageDrift(str(source), heads, _box_iou(boxes), tuple(drifts))
        return ComparedImage(drift, source, pixels, boxes, tuple(explained))


def _drifts(
    specs: tuple[ModelSpec, ModelSpec], answers: Sequence[Answer], others: Sequence[Answer]
) -> Iterator[HeadDrift]:
    """Each head that both models have, with the answers of both."""
    theirs = {answer.head.name: answer for answer in others}
    same = shared_heads(*specs)
    for answer in answers:
        if answer.head.name in same:
            other = theirs[same[answer.head.name].name]
            if has_compared_kind(answer) and has_compared_kind(other):
                yield head_drift(answer, other, shared_entries(answer.head, other.head))


def _index_of(question: Question) -> int:
    """The index that is explained. Raises UnsupportedError for a target that says more than an index."""
    if not isinstance(question.target, int):
        raise UnsupportedError(f"target: found {question.target_text}, expected a class or a coordinate of the box")
    return question.target


def _explain(explainer: Explainer, pixels: AnyArray, target: int) -> Explanation:
    (explanation,) = explainer.for_targets(pixels, [target])
    if explanation.report is not None and explanation.report.interrupted:
        raise KeyboardInterrupt
    return explanation


def plan_comparison(
    first: OpenedModel,
    second: OpenedModel,
    methods: Sequence[str],
    targets: Sequence[str],
    options: Callable[[OpenedModel], Mapping[str, Any]],
    left_out: Sequence[Unlike] = (),
) -> ModelComparison:
    """Two models, and the questions that both can answer. A method that one of them cannot do is in `unlike`.

    `options`: the methods' options for a model. `targets` are those of the first model. `left_out`: what is known not
    to be comparable. Raises OnnxplainError for methods, targets and options that do not exist or fit, UnsupportedError
    for a model whose default head has neither classes nor labels nor numbers, or another kind than the other model's.
    """
    for opened in (first, second):
        _check_kind(opened)
    kinds = [opened.engine.spec.head.kind for opened in (first, second)]
    if kinds[0] != kinds[1]:
        raise UnsupportedError(
            f"{second.engine.source}: found a default head of {kinds[1]}, expected {kinds[0]} as in "
            f"{first.engine.source.name}: name the heads with --head, or give two files of one model"
        )
    differences = [*unlike(first.engine.spec, second.engine.spec), *left_out]
    pairs: list[_Pair] = []
    given = {name: value for name, value in options(first).items() if value is not None}
    _check_options(methods, given)
    for method in dict.fromkeys(methods):
        ours = {name: value for name, value in given.items() if name in _options_of(method)}
        questions = _planned(first, method, targets, ours, differences, "first")
        theirs = {**ours, **{"layer": options(second).get("layer")}} if "layer" in ours else ours
        others = _planned(second, method, (), theirs, differences, "second") if questions else ()
        if not others:
            continue
        made = questions[0].build(first.engine), others[0].build(second.engine)
        reseeded = _reseeded(questions[0]).build(first.engine) if "seed" in _options_of(method) else None
        for question in questions:
            if question.target is not None:
                _index_of(question)
            pairs.append(_Pair(question, *made, reseeded))
    differences += _layers(first, second, methods)
    if len({pair.question.target for pair in pairs}) > 1:
        pairs.sort(key=lambda pair: targets.index(pair.question.target_text))
    return ModelComparison(first, second, tuple(pairs), tuple(differences))


def _check_kind(opened: OpenedModel) -> None:
    spec = opened.engine.spec
    if spec.detector is not None or not spec.heads or spec.head.kind not in COMPARED_KINDS:
        heads = ", ".join(f"{head.name}:{head.kind}" for head in spec.heads)
        found = "a detector" if spec.detector is not None else heads or "no head"
        raise UnsupportedError(
            f"{opened.engine.source}: found {found}, expected a default head of classes, labels or values to compare: "
            "name it with --head, or explain with both files and run `onnxplain report` on the two folders"
        )


def _planned(
    opened: OpenedModel,
    method: str,
    targets: Sequence[str],
    options: Mapping[str, Any],
    differences: list[Unlike],
    which: str,
) -> tuple[Question, ...]:
    """The questions of one method; none if this file lacks what the method needs, which is then a difference."""
    try:
        return plan_questions(opened.engine, [method], targets, options)
    except UnsupportedError as error:
        texts = (str(error), method) if which == "first" else (method, str(error))
        differences.append(Unlike("method", *texts, False))
        return ()


def _layers(first: OpenedModel, second: OpenedModel, methods: Sequence[str]) -> list[Unlike]:
    """The layers of the two models, if a method explains one and they have other names."""
    from onnxplain.explainers.needs import PLAIN
    from onnxplain.explainers.registry import find_method

    names = [", ".join(layer.name for layer in opened.engine.spec.layers) for opened in (first, second)]
    needed = any(find_method(method).needs not in PLAIN for method in methods)
    return [Unlike("layer", names[0], names[1], True)] if needed and all(names) and names[0] != names[1] else []


def _reseeded(question: Question) -> Question:
    options = dict(question.options)
    options["seed"] = options.get("seed", 0) + 1
    return replace(question, options=tuple(options.items()))


def _options_of(method: str) -> tuple[str, ...]:
    from onnxplain.explainers.registry import find_method

    return find_method(method).options


def _check_options(methods: Sequence[str], given: Mapping[str, Any]) -> None:
    from onnxplain.explainers.method_options import divide_options

    divide_options(methods, given)


def _box_of(answers: Sequence[Answer]) -> Corners | None:
    """The box of the box head; None without one."""
    return next((answer.xyxy for answer in answers if isinstance(answer, BoxAnswer)), None)


def _box_iou(boxes: tuple[Corners | None, Corners | None]) -> float | None:
    import numpy as np

    from onnxplain.runtime.box import paired_iou

    if boxes[0] is None or boxes[1] is None:
        return None
    return float(paired_iou(np.array([boxes[0]]), np.array([boxes[1]]))[0])
