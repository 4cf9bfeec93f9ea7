"""Doing one part: its images are read, explained and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxplain.batch.job import BatchJob, ImageTrial, PartDone, PartProgress, PartTask, TrialTask
from onnxplain.batch.pipeline import one_behind
from onnxplain.batch.reader import GroupReader, ReadImage, error_text
from onnxplain.batch.rows import error_row, explanation_row
from onnxplain.batch.schema import PartFooter, write_part
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.answers import Answer, Classes, Labels

if TYPE_CHECKING:
    from onnxplain.explainers.explanation import Explanation
    from onnxplain.runtime.images.prepared import PreparedImage

Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class ImageOutcome:
    """An image, each head's answer, and an explanation per question with its method's seed; or an error."""

    image: ReadImage
    answers: tuple[Answer, ...] = ()
    explanations: tuple[tuple[Explanation, int | None], ...] = ()
    error: str = ""

    def rows(self) -> Rows:
        """Its rows in the table."""
        if self.error:
            return [error_row(self.image, self.error)]
        try:
            return [explanation_row(self.image, each, self.answers, seed) for each, seed in self.explanations]
        except Exception as error:
            return [error_row(self.image, f"{self.image.name}: {error_text(error)}")]


class NothingExplainedError(OnnxplainError):
    """The first part holds no image that could be explained: something is wrong with the model or the source."""


class PartMaker:
    """Explains the images of parts with one engine. The same task always writes the same bytes.

    Building it raises the errors of the methods' constructors.
    """

    def __init__(self, job: BatchJob) -> None:
        job.settle()
        self._job = job
        # Questions that differ only in the target share an explainer.
        one_each = {question.explainer_key: question for question in job.questions}
        self._explainers = {key: question.build(job.engine) for key, question in one_each.items()}

    def make(self, task: PartTask, report: Callable[[PartProgress], None]) -> PartDone:
        """Explain the images of a part and write its file. `report` is called after each group of images.

        Raises NothingExplainedError, and OnnxplainError if the file cannot be written.
        """
        job, rows, done, failures = self._job, [], 0, []
        reader = GroupReader(job.engine, job.max_megapixels, 1 if task.alone else job.at_once)
        with reader.groups(task.images, task.left_out) as groups:
            for row_lists in one_behind(make_rows, map(self._explain_group, groups)):
                for row_list in row_lists:
                    rows += row_list
                    failures += [row["error"] for row in row_list if row.get("error")]
                done += len(row_lists)
                report(PartProgress(task.part, done, len(failures)))
        if len(failures) == len(task.images) and not task.may_all_fail:
            raise NothingExplainedError(
                f"found {len(failures)} image{'s' * (len(failures) > 1)} in the first part and none that could be "
                f"explained, expected at least one; the first error: {failures[0]}"
            )
        write_part(job.output, PartFooter(job.run, task.part, len(task.images), len(failures)), rows)
        return PartDone(task.part, len(task.images), len(failures))

    def try_images(self, task: TrialTask, trying: Callable[[int], None]) -> None:
        """Explain each image alone and keep nothing. `trying` is called with its place before each."""
        for place, name in enumerate(task.images):
            if place >= task.start and place not in task.left_out:
                trying(place)
                self.try_image(ImageTrial(name, place))

    def try_image(self, task: ImageTrial) -> None:
        """Explain one image alone and keep nothing."""
        reader = GroupReader(self._job.engine, self._job.max_megapixels, 1)
        make_rows(self._explain_group([reader.read(task.place, task.image)]))

    def _explain_group(self, group: Sequence[ReadImage]) -> list[ImageOutcome]:
        """The images in their order. If they fail together, each is explained alone."""
        readable = [image for image in group if image.prepared is not None]
        found = {each.image.place: each for each in self._explain_readable(readable)}
        return [found.get(image.place) or ImageOutcome(image, error=image.error) for image in group]

    def _explain_readable(self, images: Sequence[ReadImage]) -> list[ImageOutcome]:
        if not images:
            return []
        try:
            return self._explain(images)
        except Exception as error:
            if len(images) > 1:
                return [found for image in images for found in self._explain_readable([image])]
            return [ImageOutcome(images[0], error=f"{images[0].name}: {error_text(error)}")]

    def _explain(self, images: Sequence[ReadImage]) -> list[ImageOutcome]:
        prepared = [image.prepared for image in images if image.prepared is not None]
        explained: list[list[Explanation]] = [[] for _ in images]
        seeds: list[int | None] = []
        for key, explainer in self._explainers.items():
            targets = [question.target for question in self._job.questions if question.explainer_key == key]
            seeds += [getattr(explainer, "seed", None)] * len(targets)
            if len(targets) == 1:
                for so_far, explanation in zip(explained, explainer(prepared, targets * len(images)), strict=True):
                    so_far.append(explanation)
            else:
                for so_far, each in zip(explained, prepared, strict=True):
                    so_far += explainer.for_targets(each, targets)
        if any(each.report is not None and each.report.interrupted for found in explained for each in found):
            raise KeyboardInterrupt
        return [
            ImageOutcome(image, answers, tuple(zip(found, seeds, strict=True)))
            for image, found, answers in zip(images, explained, self._answers(prepared, explained), strict=True)
        ]

    def _answers(
        self, prepared: Sequence[PreparedImage], explained: Sequence[Sequence[Explanation]]
    ) -> list[tuple[Answer, ...]]:
        """Each head's answer. If the only head is one of classes or labels, the explanation has it already."""
        head, *others = self._job.engine.spec.heads
        predictions = [row[0].prediction for row in explained]
        if others or head.kind not in ("classes", "labels") or None in predictions:
            return self._job.engine.answers(prepared)
        scores = [prediction.scores for prediction in predictions if prediction is not None]
        return [(Classes(head, each) if head.kind == "classes" else Labels(head, each),) for each in scores]


def make_rows(group: Sequence[ImageOutcome]) -> list[Rows]:
    """The rows of each image."""
    return [image.rows() for image in group]
