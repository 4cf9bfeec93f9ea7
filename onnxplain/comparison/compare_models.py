"""The comparison: both models answer and explain each image, and the first one again with another seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.comparison.image_drift import ImageDrift, MethodDrift, PredictedClass
from onnxplain.comparison.map_drift import map_drift
from onnxplain.comparison.shared_classes import Unlike, shared_classes, unlike
from onnxplain.errors import ImageError, UnsupportedError
from onnxplain.explanations.image_arguments import read_image
from onnxplain.explanations.questions import Question, plan_questions

if TYPE_CHECKING:
    from onnxplain.explainers import Explainer, Explanation
    from onnxplain.explanations.open_model import OpenedModel
    from onnxplain.explanations.progress_display import ProgressDisplay
    from onnxplain.runtime import Prediction
    from onnxplain.runtime.arrays import AnyArray


@dataclass(frozen=True, eq=False)
class ComparedImage:
    """One image: the numbers, and the explanations of both models they come from, with their questions."""

    drift: ImageDrift
    source: Path
    pixels: AnyArray | None = None
    predictions: tuple[Prediction, Prediction] | None = None
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
        prediction, other = engines[0].predict(pixels)[0], engines[1].predict(others)[0]
        classes = shared_classes(engines[0].spec, engines[1].spec)
        explained, drifts = [], []
        for pair in self.pairs:
            target = prediction.class_id if pair.question.target is None else _index_of(pair.question)
            other_target = _other_target(target, prediction, other, classes)
            if other_target is not None:
                one = _explain(pair.first, pixels, target)
                two = _explain(pair.second, others, other_target)
                again = None if pair.reseeded is None else _explain(pair.reseeded, pixels, target)
                noise = None if again is None else map_drift(one, again)
                statuses = one.status, two.status
                drifts.append(MethodDrift(pair.question.method, one.target_name, map_drift(one, two), noise, statuses))
                explained.append((pair.question, one, two))
            progress.step()
        drift = ImageDrift(
            str(source),
            PredictedClass(prediction.label, prediction.score),
            PredictedClass(other.label, other.score),
            changed=None if prediction.class_id not in classes else classes[prediction.class_id] != other.class_id,
            score_difference=_difference(prediction, other, classes, prediction.class_id),
            largest=_largest_difference(prediction, other, classes),
            box_iou=_box_iou(prediction, other),
            maps=tuple(drifts),
        )
        return ComparedImage(drift, source, pixels, (prediction, other), tuple(explained))


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
    for a model whose default head has no classes.
    """
    for opened in (first, second):
        _check_classes(opened)
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


def _check_classes(opened: OpenedModel) -> None:
    spec = opened.engine.spec
    if spec.detector is not None or not spec.heads or spec.head.kind != "classes":
        heads = ", ".join(f"{head.name}:{head.kind}" for head in spec.heads)
        found = "a detector" if spec.detector is not None else heads or "no head"
        raise UnsupportedError(
            f"{opened.engine.source}: found {found}, expected a default head of classes to compare: "
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
    from onnxplain.explainers.needs import SCORES
    from onnxplain.explainers.registry import find_method

    names = [", ".join(layer.name for layer in opened.engine.spec.layers) for opened in (first, second)]
    needed = any(find_method(method).needs is not SCORES for method in methods)
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


def _other_target(target: int, prediction: Prediction, other: Prediction, shared: Mapping[int, int]) -> int | None:
    """The same class, or coordinate of the box, in the second model; None if it has none."""
    coordinate = target - len(prediction.scores)
    if coordinate < 0:
        return shared.get(target)
    return len(other.scores) + coordinate if other.box_xyxy is not None else None


def _difference(first: Prediction, second: Prediction, classes: Mapping[int, int], index: int) -> float | None:
    """The score of a class of the first model in the second, minus that in the first."""
    return float(second.scores[classes[index]] - first.scores[index]) if index in classes else None


def _largest_difference(first: Prediction, second: Prediction, classes: Mapping[int, int]) -> float | None:
    if not classes:
        return None
    ours, theirs = first.scores[list(classes.keys())], second.scores[list(classes.values())]
    return float(abs(theirs - ours).max())


def _box_iou(first: Prediction, second: Prediction) -> float | None:
    import numpy as np

    from onnxplain.runtime.box import paired_iou

    if first.box_xyxy is None or second.box_xyxy is None:
        return None
    return float(paired_iou(np.array([first.box_xyxy]), np.array([second.box_xyxy]))[0])
