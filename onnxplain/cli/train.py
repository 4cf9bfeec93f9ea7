"""`onnxplain train`: train a network on generated digits or on a data set of photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.export import export_checkpoint
from onnxplain.cli.main import INTERRUPTED
from onnxplain.cli.options.training import TrainingData, training_options
from onnxplain.cli.output.export_report import print_report
from onnxplain.cli.output.progress import Bar, progress_bar
from onnxplain.cli.output.terminal import say
from onnxplain.errors import OnnxplainError
from onnxplain.extras import needs_extra, require_modules

if TYPE_CHECKING:
    from onnxplain.training.loop import TrainingProgress
    from onnxplain.training.options import TrainingOptions
    from onnxplain.training.photo_training import PhotoParts
    from onnxplain.training.score import Score
    from onnxplain.training.training import Training, TrainingReport

GOAL_ACCURACY = 0.95
GOAL_MEAN_IOU = 0.75


@click.command(short_help="Train a localizer (class and bounding box), or a network of labels or a number.")
@click.argument("dataset", metavar="DATASET")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="The checkpoint to write. If OUT ends in .onnx, it is the explainable file, and the checkpoint is written "
    "beside it as .pt.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue a stopped training with the same arguments. The result is the same as without the stop.",
)
@click.option("--restart", is_flag=True, help="Start again, and drop the state of a stopped training.")
@training_options
def train(data: TrainingData, chosen: dict[str, Any], output: Path, resume: bool, restart: bool) -> None:
    """Train a localizer: a network that predicts the class of an object and its bounding box.

    The loss is cross-entropy for the label plus a distance for the box. With --supervision labels, the network learns
    from labels alone, and the box comes from the heatmap. With multi-label it answers with any number of labels, with
    number it answers with a number, such as an age.

    DATASET is a data set of photos: a folder or file of Pascal VOC, COCO, YOLO or WSOL annotations, a CSV file of
    boxes, of labels or of numbers, or a folder with one subfolder of images per class. Some images are kept for
    choosing the best epoch, others for the test at the end. What cannot be used is listed on standard error.

    Or DATASET is digits: handwritten digits at a random place, scale and contrast on photographs of textures,
    generated during the training. The test uses 1,000 images, made of digits and textures that are not used for
    training. The exit status is 1 below 95 % accuracy or 0.75 mean IoU. Needs the extra `train`.

    While it runs, the checkpoint's .state file holds what --resume needs. A state that a stopped training left is not
    overwritten: give --resume or --restart.
    """
    if resume and restart:
        raise click.UsageError("--resume and --restart: expected one of them")
    wants_onnx = output.suffix.lower() == ".onnx"
    checkpoint = output.with_suffix(".pt") if wants_onnx else output
    if wants_onnx:
        require_modules("train", "onnxplain.exporters.torch_export")
    from onnxplain.data.open import DIGITS

    if data.dataset == DIGITS:
        if data.states_photos:
            raise click.UsageError(
                "--images, --allow-outside, --split, --strict, --column, --no-flip and --no-augment are for photos, "
                "not digits"
            )
        training, photos = _prepare_digits(chosen, data.images_per_epoch), None
    elif data.images_per_epoch is not None:
        raise click.UsageError("--images-per-epoch is for digits: photos are shown once per epoch")
    else:
        photos, options = _read_photos(data, chosen)
        from onnxplain.training.photo_training import photo_training

        training = photo_training(photos, options)
    with progress_bar() as bar:
        try:
            report = training.run(
                checkpoint, resume=resume, restart=restart, progress=lambda progress: _show(bar, progress)
            )
        except KeyboardInterrupt:
            bar.echo("onnxplain: interrupted: the same command with --resume continues after the last epoch", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
    say(
        f"{checkpoint}: {report.parameters} parameters, {report.epochs} epochs, {report.seconds / 60:.1f} minutes, "
        f"seed {report.seed}; validation: {_describe(report.validation)}"
    )
    if photos is not None:
        say(f"{_write_division(photos, data, checkpoint)}: lists of the images of each part")
    if wants_onnx:
        print_report(export_checkpoint(checkpoint, output), as_json=False)
    if photos is None:
        _judge_digits(report)
    elif report.test is not None:
        _show_test(report.test, photos, output if wants_onnx else None)


def _prepare_digits(chosen: dict[str, Any], images_per_epoch: int | None) -> Training:
    require_modules("train", "skimage", "sklearn")
    with needs_extra("train"):
        from onnxplain.training.digits import DIGITS_OPTIONS, IMAGES_PER_EPOCH, digits_training

    options = replace(DIGITS_OPTIONS, **chosen)
    return digits_training(options, images_per_epoch=images_per_epoch or IMAGES_PER_EPOCH)


def _read_photos(data: TrainingData, chosen: dict[str, Any]) -> tuple[PhotoParts, TrainingOptions]:
    """Read a data set, and list on standard error what cannot be used."""
    with needs_extra("train"):
        from onnxplain.training.augmentation import Augmentation
        from onnxplain.training.options import TrainingOptions
        from onnxplain.training.parts import open_parts
        from onnxplain.training.photo_training import read_parts
        from onnxplain.training.truths import told_supervision

    opened = open_parts(
        data.dataset,
        images=data.images,
        lists=data.lists,
        seed=chosen.get("seed", 0),
        strict=data.strict,
        allow_outside=data.allow_outside,
    )
    asked = {"supervision": "number" if data.column else told_supervision(opened.train), **chosen}
    options = TrainingOptions(**asked, augmentation=Augmentation(mirror=data.flip) if data.augment else None)
    parts = opened.usable(options.supervision, data.column)
    photos = read_parts(parts, options.size_hw, options.supervision, strict=data.strict)
    problems = (*parts.problems, *photos.problems)
    for problem in problems:
        say(f"left out: {problem}", err=True)
    counts = [(len(problems), "problems, listed above"), *parts.left_out]
    said = [f"{count} {reason}" for count, reason in counts if count]
    if said:
        say(f"left out: {', '.join(said)}", err=True)
    sizes = [("train", photos.train), ("validation", photos.validation), ("test", photos.test)]
    described = ", ".join(f"{name} {len(part)}" for name, part in sizes if part is not None)
    say(f"{data.dataset}: {_describe_truths(photos)}; images: {described}")
    return photos, options


def _describe_truths(photos: PhotoParts) -> str:
    """What the images teach, in words."""
    labels, truths = photos.train.labels, photos.train.truths
    if photos.supervision == "number":
        return f"numbers {labels[0]}, {truths.min():g} to {truths.max():g}"
    if photos.supervision == "multi-label":
        return f"{len(labels)} labels, {truths.sum(axis=1).mean():.1f} per image"
    return f"{len(labels)} classes"


def _write_division(photos: PhotoParts, data: TrainingData, checkpoint: Path) -> Path:
    """Write one list of images per part, for `evaluate --split`; returns the folder of the lists."""
    from onnxplain.data import open_dataset, write_lists

    parts = {"train": photos.train, "validation": photos.validation, "test": photos.test}
    sides = {name: part.records for name, part in parts.items() if part is not None}
    folder = checkpoint.with_suffix(".split")
    write_lists(open_dataset(data.dataset, images=data.images, allow_outside=data.allow_outside), sides, folder)
    return folder


def _judge_digits(report: TrainingReport) -> None:
    """Print the result of the digits recipe; exit status 1 if it missed the goal."""
    from onnxplain.training.score import LocalizationScore

    test = report.test
    if not isinstance(test, LocalizationScore):
        raise OnnxplainError("digits: found no test score, expected one")
    goal = f"goal: accuracy {GOAL_ACCURACY:.0%}" + ("" if test.mean_iou is None else f", mean IoU {GOAL_MEAN_IOU}")
    say(f"on {test.count} unseen images: {_describe(test)} ({goal})")
    if test.accuracy < GOAL_ACCURACY or (test.mean_iou is not None and test.mean_iou < GOAL_MEAN_IOU):
        raise click.exceptions.Exit(1)


def _show_test(test: Score, photos: PhotoParts, model: Path | None) -> None:
    """Print the scores on the test images: of the model, of a constant baseline, and of boxes from the heatmaps."""
    say(f"on {test.count} unseen images: {_describe(test)}")
    constant = photos.constant()
    if constant is None:
        return
    say(f"  baseline ({_BASELINES[photos.supervision]}): {_describe(constant)}")
    if model is not None and photos.test is not None and photos.supervision in ("boxes", "labels"):
        from onnxplain.explainers.heatmap_boxes import predict_by_heatmap
        from onnxplain.training.score import score_predictions

        by_heatmap = score_predictions(predict_by_heatmap(model), photos.test.records, photos.test.labels)
        say(f"  boxes from the heatmaps, no box head: {_describe(by_heatmap)}")


_BASELINES = {
    "boxes": "most frequent label, mean box",
    "labels": "most frequent label, mean box",
    "multi-label": "the same labels for each image",
    "number": "the median of the training images",
}
# The numbers of a score that are printed, those that it has: field, words, format.
_NUMBERS = (
    ("mean_average_precision", "mean average precision", ".3f"),
    ("accuracy", "accuracy", ".1%"),
    ("mean_iou", "mean IoU", ".3f"),
    ("box_accuracy", "IoU of at least 0.5", ".1%"),
    ("mean_absolute_error", "mean absolute error", ".4g"),
)


def _describe(score: Score) -> str:
    found = [(words, getattr(score, name, None), form) for name, words, form in _NUMBERS]
    return ", ".join(f"{words} {value:{form}}" for words, value, form in found if value is not None)


def _show(bar: Bar, progress: TrainingProgress) -> None:
    """Move the bar over all steps, and print one line per epoch on standard output."""
    numbers = (
        ("accuracy", progress.accuracy, ".1%"),
        ("IoU", progress.mean_iou, ".3f"),
        ("error", progress.mean_error, ".4g"),
    )
    known = "".join(f"  {words} {value:{form}}" for words, value, form in numbers if value is not None)
    running = f"loss {progress.loss:.3f}{known}"
    bar.expect(progress.epochs * progress.steps)
    bar.reach((progress.epoch - 1) * progress.steps + progress.step)
    bar.say(running)
    if progress.validation is not None:
        bar.echo(
            f"epoch {progress.epoch:>{len(str(progress.epochs))}}/{progress.epochs}  {running}  "
            f"validation: {_describe(progress.validation)}"
        )
