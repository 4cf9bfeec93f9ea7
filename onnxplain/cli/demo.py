"""`onnxplain demo`: explain the shipped sample images with the shipped model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.output.progress import progress_bar
from onnxplain.cli.output.tables import print_table
from onnxplain.cli.output.terminal import say
from onnxplain.demo import MODEL, read_samples
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
_TRUTH_COLOUR = (64, 220, 120)
_SHEET_WIDTH = 1920


@click.command(short_help="Try it: boxes and heatmaps for six sample images.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("onnxplain-demo"),
    metavar="DIR",
    help="Folder to write to. It is created if it is missing. Default: ./onnxplain-demo.",
)
def demo(output: Path) -> None:
    """Explain six sample images with class activation maps, Grad-CAM, Augmented Grad-CAM and RISE.

    The model is a small localizer of handwritten digits. It comes with the package. The folder DIR (-o) receives one
    picture per image and method, explanations.jsonl, and demo.png, which shows all pictures side by side. With the
    extra `report`, it also receives report.html, a page with all maps that opens from disk. The terminal shows for each
    image the true label, the predicted label with its score, and the overlap (IoU) of the predicted and the true box.
    """
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
        contact_sheet = _add_contact_sheet(folder, samples, explained, questions)
    print_table(("image", "true label", "predicted", "score", "box IoU"), rows, numbers=("score", "box IoU"))
    for line in ("", f"Pictures: {output}", f"All pictures side by side: {contact_sheet}"):
        say(line)
    if not missing_modules("report"):
        from onnxplain.explanations.verify_folder import read_run
        from onnxplain.report.folder_report import report_of
        from onnxplain.report.page_file import write_report

        page = output / "report.html"
        write_report(report_of([read_run(output)]), page)
        say(f"Report, to open in a browser: {page}")


def _row(sample: Record, explained: ExplainedImage) -> tuple[str, ...]:
    import numpy as np

    from onnxplain.data.boxes import paired_iou

    prediction = explained.prediction
    if prediction is None or prediction.box_xyxy is None:
        raise OnnxplainError(f"{explained.source}: {explained.error or 'found no box'}: install onnxplain again")
    overlap = paired_iou(np.array([prediction.box_xyxy]), sample.boxes_xyxy)[0]
    return sample.name, sample.label, prediction.label, f"{prediction.score:.3f}", f"{overlap:.2f}"


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
