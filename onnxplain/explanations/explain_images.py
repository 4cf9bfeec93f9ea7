"""The loop of `explain` and `demo`: every question to every image, good ones and bad ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxplain.cli.output.progress import Bar
from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.explanations.explanation_folder import RESULTS_FILE, Answer, ExplanationFolder
from onnxplain.explanations.image_arguments import read_image
from onnxplain.explanations.questions import Question
from onnxplain.explanations.unique import unique_names

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from onnxplain.explainers import Explanation
    from onnxplain.runtime import Engine, Prediction

_SHEET = ".sheet"


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """One image and what was found: an answer per question, or the error that kept it from being read.

    `prediction` is the model's own, asked for where the model has a box head. `interrupted`: the user ended a method
    early; its answers are among `answers`, and nothing was asked after it.
    """

    source: Path
    image_hwc: npt.NDArray[np.uint8] | None
    prediction: Prediction | None = None
    answers: tuple[Answer, ...] = ()
    sheet: Path | None = None
    error: str = ""
    interrupted: bool = False


def explain_images(
    engine: Engine,
    sources: Sequence[Path],
    questions: Sequence[Question],
    folder: ExplanationFolder,
    bar: Bar,
    *,
    max_megapixels: float | None = None,
    on_answer: Callable[[Path, Question, Answer], None] | None = None,
) -> Iterator[ExplainedImage]:
    """Ask all questions of one image after the other and write the answers to the folder.

    An image that cannot be read gives its error; any other failure is an OnnxplainError that ends the run. A method
    that the user interrupts may answer with what it has: then its answers are written, and the run ends.
    """
    names = unique_names([source.stem for source in sources])
    bar.expect(len(sources) * len(questions))
    for source, name in zip(sources, names, strict=True):
        bar.say(source.name)
        try:
            image_hwc = read_image(source, max_megapixels)
        except ImageError as error:
            folder.add_error(source, str(error))
            for _ in questions:
                bar.step()
            yield ExplainedImage(source, None, error=str(error))
            continue
        prediction = engine.predict(image_hwc)[0] if engine.spec.box is not None else None
        answered: list[Question] = []
        answers = []
        asked = _Asked(image_hwc, questions)
        for question in questions:
            if asked.interrupted and not asked.knows(question):
                continue
            explanation, seconds = asked.answer(question)
            head_box = None if prediction is None else prediction.box_xyxy
            answer = folder.add(source, name + question.suffix, image_hwc, explanation, seconds, head_box)
            answered.append(question)
            answers.append(answer)
            bar.step()
            if on_answer is not None:
                on_answer(source, question, answer)
        sheet = _add_sheet(folder, name, image_hwc, answered, answers)
        yield ExplainedImage(source, image_hwc, prediction, tuple(answers), sheet, interrupted=asked.interrupted)
        if asked.interrupted:
            return


class _Asked:
    """The explanations of one image: each method is asked once for all its targets, when the first is wanted."""

    def __init__(self, image_hwc: npt.NDArray[np.uint8], questions: Sequence[Question]) -> None:
        self._image_hwc, self._questions = image_hwc, questions
        self._answers: dict[tuple[str, int | None], tuple[Explanation, float]] = {}
        self.interrupted = False

    def knows(self, question: Question) -> bool:
        """Whether the answer is there already."""
        return (question.method, question.target) in self._answers

    def answer(self, question: Question) -> tuple[Explanation, float]:
        """The explanation, and the seconds that it took; what several targets shared is shared evenly."""
        if not self.knows(question):
            targets = [other.target for other in self._questions if other.method == question.method]
            started = time.perf_counter()
            explanations = question.explainer.for_targets(self._image_hwc, targets)
            seconds = (time.perf_counter() - started) / len(targets)
            for target, explanation in zip(targets, explanations, strict=True):
                self._answers[question.method, target] = explanation, seconds
                self.interrupted |= explanation.report is not None and explanation.report.interrupted
        return self._answers[question.method, question.target]


def check_no_overwrite(output: Path, sources: Sequence[Path], questions: Sequence[Question]) -> None:
    """Raise OnnxplainError where a file to be written is one of the images to be read."""
    names = unique_names([source.stem for source in sources])
    written = [output / RESULTS_FILE]
    written += [output / f"{name}{suffix}.png" for name in names for suffix in [*_suffixes(questions), _SHEET]]
    clashes = {path.resolve() for path in written} & {source.resolve() for source in sources}
    if clashes:
        raise OnnxplainError(
            f"{min(clashes)}: is an image to explain and would be overwritten: give another folder with -o, or "
            "leave the image out"
        )


def _suffixes(questions: Sequence[Question]) -> list[str]:
    return [question.suffix for question in questions]


def _add_sheet(
    folder: ExplanationFolder,
    name: str,
    image_hwc: npt.NDArray[np.uint8],
    questions: Sequence[Question],
    answers: Sequence[Answer],
) -> Path | None:
    """The photo and its answers side by side; one row per target where several methods were asked."""
    if len(answers) < 2:
        return None
    methods = len({question.method for question in questions})
    per_row = methods if methods > 1 else len(answers)
    pictures, titles = [], []
    for start in range(0, len(answers), per_row):
        pictures += [image_hwc, *(answer.picture for answer in answers[start : start + per_row])]
        titles += ["image", *(question.title for question in questions[start : start + per_row])]
    return folder.add_sheet(name + _SHEET, pictures, titles, columns=per_row + 1)
