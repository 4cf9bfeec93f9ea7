"""The loop over images: answer every question for every image, and report images that cannot be read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxplain.errors import ImageError, OnnxplainError, UnexplainedImageError
from onnxplain.explanations.detection_questions import ask_detections
from onnxplain.explanations.explanation_folder import RESULTS_FILE, ExplanationFolder, SourceImage, WrittenExplanation
from onnxplain.explanations.image_arguments import read_image
from onnxplain.explanations.progress_display import ProgressDisplay
from onnxplain.explanations.questions import Question
from onnxplain.explanations.run_record import RECORD_FILE, hash_of
from onnxplain.explanations.unique import shortened, unique_names

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from onnxplain.explainers import Explainer, Explanation
    from onnxplain.runtime import Detections, Engine, Prediction
    from onnxplain.runtime.arrays import AnyArray
    from onnxplain.runtime.box import Corners

_SHEET = ".sheet"
_ENDINGS = (".png", ".npy", ".raw.npy")
# File systems take names of at most 255 bytes. Names that are equal get a number.
_LONGEST_NAME = 255 - len("-10000")


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """One image and its results: an explanation per question, or the error if the image could not be read.

    `problems`: a line for each method that cannot explain the image, and of a detector for each target that is not in
    it. `image_hwc`: its picture, uint8 RGB (`as_picture`). `prediction`: the model's own prediction, only if the model
    has a box head. `interrupted`: the user stopped a method early. Its result so far is in `written`; no method was run
    after it.
    """

    source: Path
    image_hwc: npt.NDArray[np.uint8] | None
    prediction: Prediction | None = None
    written: tuple[WrittenExplanation, ...] = ()
    sheet: Path | None = None
    error: str = ""
    interrupted: bool = False
    problems: tuple[str, ...] = ()


def explain_images(
    engine: Engine,
    sources: Sequence[Path],
    questions: Sequence[Question],
    folder: ExplanationFolder,
    progress: ProgressDisplay,
    *,
    max_megapixels: float | None = None,
    on_written: Callable[[Path, Question, WrittenExplanation], None] | None = None,
    detect: Callable[[AnyArray], Detections] | None = None,
) -> Iterator[ExplainedImage]:
    """Answer all questions for each image, one image after the other, and write the explanations to the folder.

    `on_written` is called after each explanation. `detect`: the detections of an image, for a detector; None: those of
    `Engine.detect`. An image that cannot be read yields its error, and one that a method cannot explain the results of
    the other methods. Any other failure raises OnnxplainError and ends the run. If the user interrupts a method that
    can return its result so far, this result is written and the run ends.
    """
    from onnxplain.explainers.held_interrupt import hold_interrupts
    from onnxplain.runtime.images.pixels import as_picture

    # Questions that differ only in the target share an explainer.
    one_each = {question.explainer_key: question for question in questions}
    explainers = {key: question.build(engine, progress.within) for key, question in one_each.items()}
    names = _result_names(sources, questions)
    steps = len(sources) * len(questions)
    progress.expect(steps)
    for source, name in zip(sources, names, strict=True):
        progress.say(source.name)
        try:
            pixels_hwc = read_image(engine, source, max_megapixels)
        except ImageError as error:
            folder.add_error(source, str(error))
            for _ in questions:
                progress.step()
            yield ExplainedImage(source, None, error=str(error))
            continue
        image_hwc = as_picture(pixels_hwc)
        prediction, head_box = _predict_box(engine, pixels_hwc)
        asked_here, problems, found = tuple(questions), tuple[str, ...](), None
        if engine.detector is not None:
            found = engine.detect(pixels_hwc)[0] if detect is None else detect(pixels_hwc)
            here = ask_detections(engine, found, questions)
            asked_here, problems = here.questions, here.problems
            steps += len(asked_here) - len(questions)
            progress.expect(steps)
            _refuse_overwriting(folder.path, [name], asked_here, sources)
            for problem in problems:
                folder.add_error(source, problem, "target")
        image = SourceImage(source, name, image_hwc, hash_of(source), head_box, found)
        answered: list[Question] = []
        written: list[WrittenExplanation] = []
        asked = _AskedImage(pixels_hwc, asked_here, explainers)
        for question in asked_here:
            if asked.interrupted and not asked.knows(question):
                continue
            stoppable = explainers[question.explainer_key].can_stop
            # A result that exists is written, whenever Ctrl-C strikes. A method that can stop early is held as a whole.
            with ExitStack() as held:
                if stoppable:
                    held.enter_context(hold_interrupts())
                try:
                    explanation, seconds = asked.explain(question)
                except UnexplainedImageError as error:
                    problems = (*problems, f"{question.title}: {error}")
                    folder.add_error(source, problems[-1], "method")
                    progress.step()
                    continue
                held.enter_context(hold_interrupts())
                answered.append(question)
                largest = asked.share_of_hottest(question)
                written.append(folder.add(image, question.suffix, explanation, seconds, largest))
                progress.step()
                if on_written is not None:
                    on_written(source, question, written[-1])
        sheet = _add_sheet(folder, name, image_hwc, answered, written)
        yield ExplainedImage(
            source, image_hwc, prediction, tuple(written), sheet, interrupted=asked.interrupted, problems=problems
        )
        if asked.interrupted:
            folder.interrupted = True
            return


def _predict_box(engine: Engine, pixels_hwc: AnyArray) -> tuple[Prediction | None, Corners | None]:
    """What the model predicts, and the box of its box head; None for a model without one."""
    from onnxplain.runtime.answers import BoxAnswer

    if engine.spec.box_head is None:
        return None, None
    if any(head.kind == "classes" for head in engine.spec.heads):
        (prediction,) = engine.predict(pixels_hwc)
        return prediction, prediction.box_xyxy
    (answers,) = engine.answers(pixels_hwc)
    return None, next(answer.xyxy for answer in answers if isinstance(answer, BoxAnswer))


class _AskedImage:
    """The explanations of one image. Each method runs once for all its targets, when the first is needed."""

    def __init__(
        self,
        pixels_hwc: AnyArray,
        questions: Sequence[Question],
        explainers: Mapping[Hashable, Explainer],
    ) -> None:
        self._pixels_hwc, self._questions, self._explainers = pixels_hwc, questions, explainers
        self._found: dict[Question, tuple[Explanation, float]] = {}
        self.interrupted = False

    def knows(self, question: Question) -> bool:
        """Whether the explanation already exists."""
        return question in self._found

    def explain(self, question: Question) -> tuple[Explanation, float]:
        """The explanation, and its time in seconds. Time for several targets is divided evenly among them."""
        if not self.knows(question):
            key = question.explainer_key
            together = [other for other in self._questions if other.explainer_key == key]
            started = time.perf_counter()
            targets = [other.target for other in together]
            explanations = self._explainers[key].for_targets(self._pixels_hwc, targets)
            seconds = (time.perf_counter() - started) / len(together)
            for other, explanation in zip(together, explanations, strict=True):
                self._found[other] = explanation, seconds
                self.interrupted |= explanation.report is not None and explanation.report.interrupted
        return self._found[question]

    def share_of_hottest(self, question: Question) -> float:
        """The raw value of its hottest pixel above no heat, as a share of the largest of its method; 1 without heat."""
        peaks = {
            other: float(explanation.shown.max()) - explanation.no_heat
            for other, (explanation, _) in self._found.items()
            if other.explainer_key == question.explainer_key and explanation.status == "ok"
        }
        hottest = max(peaks.values(), default=0.0)
        return peaks[question] / hottest if hottest > 0 and peaks.get(question, 0.0) > 0 else 1.0


def check_no_overwrite(output: Path, sources: Sequence[Path], questions: Sequence[Question]) -> None:
    """Raise OnnxplainError if an output file would overwrite one of the images to explain."""
    _refuse_overwriting(output, _result_names(sources, questions), questions, sources)


def _refuse_overwriting(
    output: Path, names: Sequence[str], questions: Sequence[Question], sources: Sequence[Path]
) -> None:
    """The same for images of these names."""
    written = [output / RESULTS_FILE, output / RECORD_FILE]
    suffixes = [*(question.suffix for question in questions), _SHEET]
    written += [output / f"{name}{suffix}{ending}" for name in names for suffix in suffixes for ending in _ENDINGS]
    clashes = {path.resolve() for path in written} & {source.resolve() for source in sources}
    if clashes:
        raise OnnxplainError(
            f"{min(clashes)}: found an image to explain, expected no file that the results overwrite: give another "
            "folder with -o, or leave out the image"
        )


def _result_names(sources: Sequence[Path], questions: Sequence[Question]) -> list[str]:
    """What the names of each image's results begin with: its own name, shortened where a result's would be too long."""
    suffixes = [_SHEET, *(question.suffix for question in questions)]
    longest = max(len(os.fsencode(suffix + ending)) for suffix in suffixes for ending in _ENDINGS)
    return unique_names([shortened(source.stem, _LONGEST_NAME - longest) for source in sources])


def _add_sheet(
    folder: ExplanationFolder,
    name: str,
    image_hwc: npt.NDArray[np.uint8],
    questions: Sequence[Question],
    written: Sequence[WrittenExplanation],
) -> Path | None:
    """Write the image and its pictures side by side. With several methods there is one row per target."""
    if len(written) < 2:
        return None
    methods = len({question.method for question in questions})
    per_row = methods if methods > 1 else len(written)
    pictures, titles = [], []
    for start in range(0, len(written), per_row):
        pictures += [image_hwc, *(each.picture for each in written[start : start + per_row])]
        titles += ["image", *(question.title for question in questions[start : start + per_row])]
    return folder.add_sheet(name + _SHEET, pictures, titles, columns=per_row + 1)
