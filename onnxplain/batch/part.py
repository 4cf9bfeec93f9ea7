"""Doing one part: its images are read, explained and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from onnxplain.batch.job import BatchJob, PartDone, PartProgress, PartTask, TrialTask
from onnxplain.batch.reader import GroupReader, ReadImage, error_text
from onnxplain.batch.rows import error_row, explanation_row
from onnxplain.batch.schema import PartFooter, write_part
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.answers import Answer, Classes, Labels

if TYPE_CHECKING:
    from onnxplain.explainers.explanation import Explanation

Rows = list[dict[str, Any]]


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
            for group in groups:
                for row_list in self._explain_group(group):
                    rows += row_list
                    failures += [row["error"] for row in row_list if row.get("error")]
                done += len(group)
                report(PartProgress(task.part, done, len(failures)))
        if len(failures) == len(task.images) and not task.may_all_fail:
            raise NothingExplainedError(
                f"found {len(failures)} image{'s' * (len(failures) > 1)} in the first part and none that could be "
                f"explained, expected at least one; the first error: {failures[0]}"
            )
        write_part(job.folder, PartFooter(job.run, task.part, len(task.images), len(failures)), rows)
        return PartDone(task.part, len(task.images), len(failures))

    def try_images(self, task: TrialTask, trying: Callable[[int], None]) -> None:
        """Explain each image alone and keep nothing. `trying` is called with its place before each."""
        reader = GroupReader(self._job.engine, self._job.max_megapixels, 1)
        for place, name in enumerate(task.images):
            if place >= task.start and place not in task.left_out:
                trying(place)
                self._explain_group([reader.read(place, name)])

    def _explain_group(self, group: Sequence[ReadImage]) -> list[Rows]:
        """The rows of each image. If the images fail together, each is explained alone."""
        readable = [image for image in group if image.pixels is not None]
        found = dict(zip([image.place for image in readable], self._explain_readable(readable), strict=True))
        return [found.get(image.place) or [error_row(image, image.error)] for image in group]

    def _explain_readable(self, images: Sequence[ReadImage]) -> list[Rows]:
        if not images:
            return []
        try:
            return self._explain(images)
        except Exception as error:
            if len(images) > 1:
                return [rows for image in images for rows in self._explain_readable([image])]
            return [[error_row(images[0], f"{images[0].name}: {error_text(error)}")]]

    def _explain(self, images: Sequence[ReadImage]) -> list[Rows]:
        pixels = [image.pixels for image in images if image.pixels is not None]
        explained: list[list[Explanation]] = [[] for _ in images]
        seeds: list[int | None] = []
        for key, explainer in self._explainers.items():
            targets = [question.target for question in self._job.questions if question.explainer_key == key]
            seeds += [getattr(explainer, "seed", None)] * len(targets)
            if len(targets) == 1:
                for so_far, explanation in zip(explained, explainer(pixels, targets * len(images)), strict=True):
                    so_far.append(explanation)
            else:
                for so_far, array in zip(explained, pixels, strict=True):
                    so_far += explainer.for_targets(array, targets)
        if any(each.report is not None and each.report.interrupted for row in explained for each in row):
            raise KeyboardInterrupt
        answers = self._answers(pixels, explained)
        return [
            [explanation_row(image, each, answer, seed) for each, seed in zip(row, seeds, strict=True)]
            for image, row, answer in zip(images, explained, answers, strict=True)
        ]

    def _answers(self, pixels: Sequence[Any], explained: Sequence[Sequence[Explanation]]) -> list[tuple[Answer, ...]]:
        """Each head's answer. If the only head is one of classes or labels, the explanation has it already."""
        head, *others = self._job.engine.spec.heads
        predictions = [row[0].prediction for row in explained]
        if others or head.kind not in ("classes", "labels") or None in predictions:
            return self._job.engine.answers(pixels)
        scores = [prediction.scores for prediction in predictions if prediction is not None]
        return [(Classes(head, each) if head.kind == "classes" else Labels(head, each),) for each in scores]
