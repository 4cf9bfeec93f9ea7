"""`onnxplain train`: a localizer, from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.export import export_checkpoint
from onnxplain.cli.export_report import print_report
from onnxplain.cli.extras import needs_extra
from onnxplain.cli.progress import Bar, progress_bar

if TYPE_CHECKING:
    from onnxplain.training.loop import Progress

GOAL_ACCURACY = 0.95
GOAL_MEAN_IOU = 0.75


@click.command(short_help="Train a localizer: class and bounding box.")
@click.argument("dataset", type=click.Choice(["digits"]), metavar="DATASET")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="The checkpoint to write; where OUT ends in .onnx, the explainable file, its checkpoint beside it as .pt.",
)
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Default: 20.")
@click.option(
    "--images-per-epoch", type=click.IntRange(min=64), metavar="N", help="Generated images per epoch. Default: 20000."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Of weights and images."
)
def train(dataset: str, output: Path, epochs: int | None, images_per_epoch: int | None, seed: int) -> None:
    """Train a small convolutional localizer (label: cross-entropy, box: Euclidean distance) from scratch.

    DATASET is digits: handwritten digits at random place, scale and contrast on photographs of textures, generated
    while it trains. At the end the localizer is tried on 1,000 images whose digits and textures it was not trained
    on; the exit status is 1 below 95 % accuracy or 0.75 mean IoU. Needs the extra `train`.
    """
    with needs_extra("train"):
        import skimage  # noqa: F401
        import sklearn  # noqa: F401

        from onnxplain.training.digits import EPOCHS, IMAGES_PER_EPOCH, train_digits

    wants_onnx = output.suffix.lower() == ".onnx"
    checkpoint = output.with_suffix(".pt") if wants_onnx else output
    with progress_bar() as bar:
        report = train_digits(
            checkpoint,
            seed=seed,
            epochs=epochs or EPOCHS,
            images_per_epoch=images_per_epoch or IMAGES_PER_EPOCH,
            progress=lambda progress: _show(bar, progress),
        )
    click.echo(
        f"{checkpoint}: {report.parameters} parameters, {report.images} images in {report.epochs} epochs, "
        f"{report.seconds / 60:.1f} minutes, seed {report.seed}"
    )
    if wants_onnx:
        print_report(export_checkpoint(checkpoint, output), as_json=False)
    test = report.test
    click.echo(
        f"on {test.count} unseen images: accuracy {test.accuracy:.1%}, mean IoU {test.mean_iou:.3f} "
        f"(goal: {GOAL_ACCURACY:.0%}, {GOAL_MEAN_IOU})"
    )
    if test.accuracy < GOAL_ACCURACY or test.mean_iou < GOAL_MEAN_IOU:
        raise click.exceptions.Exit(1)


def _show(bar: Bar, progress: Progress) -> None:
    """A bar over all steps, and one line per epoch on standard output."""
    running = f"loss {progress.loss:.3f}  accuracy {progress.accuracy:.1%}  IoU {progress.mean_iou:.3f}"
    if progress.epoch == 1 and progress.step == 1:
        bar.expect(progress.epochs * progress.steps)
    bar.step()
    bar.say(running)
    if progress.validation is not None:
        score = progress.validation
        bar.echo(
            f"epoch {progress.epoch:>{len(str(progress.epochs))}}/{progress.epochs}  {running}  "
            f"validation: accuracy {score.accuracy:.1%}  IoU {score.mean_iou:.3f}"
        )
