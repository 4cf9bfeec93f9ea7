"""`onnxplain demo`: explain the shipped sample images with the shipped models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.detection import DetectionThresholds
from onnxplain.cli.output.progress import progress_bar
from onnxplain.cli.output.tables import print_table
from onnxplain.cli.output.terminal import say
from onnxplain.demo import DETECTOR, MODEL, detector_samples, read_samples
from onnxplain.errors import OnnxplainError
from onnxplain.explanations.explain_images import ExplainedImage, explain_images
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle
from onnxplain.explanations.open_model import OpenedModel
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.explanations.questions import Question, plan_questions
from onnxplain.explanations.run_record import record_run
from onnxplain.extras import missing_modules

if TYPE_CHECKING:
    from onnxplain.data.record import Record

# One method of each kind.
_METHODS = ("cam", "grad-cam", "augmented-grad-cam", "rise")
_BOX_METHODS = ("hires-cam", "rise")
_DETECTOR_FOLDER = "detector"
_TRUTH_COLOUR = (64, 220, 120)
_SHEET_WIDTH = 1920


@click.command(short_help="Try it: boxes and heatmaps for sample images.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("onnxplain-demo"),
    metavar="DIR",
    help="Folder to write to. It is created if it is missing. Default: ./onnxplain-demo.",
)
def demo(output: Path) -> None:
    """Explain sample images with two small models that come with the package.

    The first is a localizer of handwritten digits. It explains six images with class activation maps, Grad-CAM,
    Augmented Grad-CAM and RISE. The second is a detector: it finds several digits in each of three images, and every
    box is explained.

    The folder DIR (-o) receives one picture per image and method, explanations.jsonl, and demo.png, which shows all
    pictures side by side. DIR/detector receives the same of the detector: one picture per box, and detector.png. With
    the extra `report`, DIR also receives report.html, a page with all maps that opens from disk. The terminal shows
    for each image of the localizer the true label, the predicted label with its score, and the overlap (IoU) of the
    predicted and the true box; and for each image of the detector what it found.
    """
    rows, contact_sheet = _explain_digits(output)
    found, detector_sheet = _explain_boxes(output / _DETECTOR_FOLDER)
    print_table(("image", "true label", "predicted", "score", "box IoU"), rows, numbers=("score", "box IoU"))
    say()
    print_table(("image of the detector", "found"), found)
    for line in (
        "",
        f"Pictures: {output}",
        f"All pictures side by side: {contact_sheet}",
        f"Every box: {detector_sheet}",
    ):
        say(line)
    if not missing_modules("report"):
        from onnxplain.explanations.verify_folder import read_run
        from onnxplain.report.folder_report import report_of
        from onnxplain.report.page_file import write_report

        page = output / "report.html"
        write_report(report_of([read_run(output), read_run(output / _DETECTOR_FOLDER)]), page)
        say(f"Report, to open in a browser: {page}")


def _explain_digits(output: Path) -> tuple[list[tuple[str, ...]], Path]:
    """Explain the images of the localizer; a row per image, and the sheet of all pictures."""
    from onnxplain.explainers import supported
    from onnxplain.runtime import Engine

    engine = Engine(MODEL)
    samples = read_samples()
    methods = tuple(name for name in supported(engine) if name in _METHODS)
    questions = plan_questions(engine, methods, (), {})
    style = PictureStyle()
    run = record_run(OpenedModel(engine, methods), OpenOptions(), questions, style, output)
    with progress_bar() as bar, ExplanationFolder(output, style, run) as folder:
        sources = [Path(sample.image) for sample in samples if isinstance(sample.image, Path)]
        explained = list(explain_images(engine, sources, questions, folder, bar))
        if explained[-1].interrupted:
            raise click.Abort
        rows = [_row(sample, image) for sample, image in zip(samples, explained, strict=True)]
        return rows, _add_contact_sheet(folder, samples, explained, questions)


def _explain_boxes(output: Path) -> tuple[list[tuple[str, ...]], Path]:
    """Explain every box that the detector finds; a row per image, and the sheet: a row of pictures per image."""
    from onnxplain.explainers import supported
    from onnxplain.runtime import Engine
    from onnxplain.runtime.detection.detection_target import ALL_DETECTIONS

    engine = Engine(DETECTOR)
    methods = tuple(name for name in supported(engine) if name in _BOX_METHODS)
    questions = plan_questions(engine, methods, (ALL_DETECTIONS,), {})
    style, thresholds = PictureStyle(), DetectionThresholds()
    run = record_run(
        OpenedModel(engine, methods), OpenOptions(), questions, style, output, detecting=thresholds.as_json(engine)
    )
    with progress_bar() as bar, ExplanationFolder(output, style, run) as folder:
        explained = list(explain_images(engine, detector_samples(), questions, folder, bar))
        if explained[-1].interrupted:
            raise click.Abort
        return [_found(image) for image in explained], _add_sheet_of_boxes(folder, explained)


def _row(sample: Record, explained: ExplainedImage) -> tuple[str, ...]:
    import numpy as np

    from onnxplain.data.boxes import paired_iou

    prediction = explained.prediction
    if prediction is None or prediction.box_xyxy is None:
        raise OnnxplainError(f"{explained.source}: {explained.error or 'found no box'}: install onnxplain again")
    overlap = paired_iou(np.array([prediction.box_xyxy]), sample.boxes_xyxy)[0]
    return sample.name, sample.label, prediction.label, f"{prediction.score:.3f}", f"{overlap:.2f}"


def _found(explained: ExplainedImage) -> tuple[str, ...]:
    """The name of an image, and what was found in it, best first."""
    boxes = {each.explanation.detection for each in explained.written} - {None}
    found = sorted((box for box in boxes if box is not None), key=lambda box: -box.score)
    if not found:
        raise OnnxplainError(f"{explained.source}: {explained.error or 'found no box'}: install onnxplain again")
    return explained.source.stem, ", ".join(f"{box.label} ({box.score:.2f})" for box in found)


def _add_sheet_of_boxes(folder: ExplanationFolder, explained: Sequence[ExplainedImage]) -> Path:
    """One row per image and method: the photo with all its boxes, and the map of each box."""
    import numpy as np

    from onnxplain.explainers.drawing.marks import Mark, annotate, caption

    rows = []
    for image in explained:
        assert image.image_hwc is not None
        for method in dict.fromkeys(each.explanation.method for each in image.written):
            written = [each for each in image.written if each.explanation.method == method]
            found = [each.explanation.detection for each in written]
            marks = [Mark(box.xyxy, caption(box.label, box.score)) for box in found if box is not None]
            titles = [f"{method}: {each.explanation.target_name}" for each in written]
            rows.append(
                ([annotate(image.image_hwc, marks), *(each.picture for each in written)], [image.source.name, *titles])
            )
    columns = max(len(pictures) for pictures, _ in rows)
    pictures, titles = [], []
    for each, names in rows:
        empty = columns - len(each)
        pictures += [*each, *[np.full_like(each[0], 255)] * empty]
        titles += [*names, *[""] * empty]
    return folder.add_sheet("detector", pictures, titles, columns=columns, largest_width=_SHEET_WIDTH)


def _add_contact_sheet(
    folder: ExplanationFolder,
    samples: Sequence[Record],
    explained: Sequence[ExplainedImage],
    questions: Sequence[Question],
) -> Path:
    """One column per image: the photo with its true box, and below it one picture per method."""
    from onnxplain.explainers.drawing.marks import Mark, annotate

    pictures, titles = [], []
    for sample, image in zip(samples, explained, strict=True):
        x1, y1, x2, y2 = (float(side) for side in sample.boxes_xyxy[0])
        truth = Mark((x1, y1, x2, y2), f"true: {sample.label}", _TRUTH_COLOUR)
        pictures.append(annotate(sample.load(), [truth]))
        titles.append(image.source.name)
    for position, question in enumerate(questions):
        pictures += [image.written[position].picture for image in explained]
        titles += [question.title] * len(explained)
    return folder.add_sheet("demo", pictures, titles, columns=len(explained), largest_width=_SHEET_WIDTH)
