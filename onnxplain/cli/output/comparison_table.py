"""A comparison of two models as tables on the terminal, worst images first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.cli.output.tables import print_table
from onnxplain.cli.output.terminal import say

if TYPE_CHECKING:
    from onnxplain.comparison.image_drift import ImageDrift, MethodSummary
    from onnxplain.comparison.shared_classes import Unlike

METHOD_COLUMNS = ("method", "images", "correlation", "worst", "IoU", "worst", "noise", "beyond noise")
IMAGE_COLUMNS = ("image", "first", "second", "Δ score", "method", "correlation", "IoU", "noise")


def print_comparison(images: Sequence[ImageDrift], differences: Sequence[Unlike], most: int) -> None:
    """Print what differs between the models, the answers, a row per method, and the `most` worst images."""
    from onnxplain.comparison.image_drift import summarise

    for each in differences:
        say(unlike_line(each))
    say(answers_line(images))
    summaries = summarise(images)
    if summaries:
        say()
        print_table(METHOD_COLUMNS, [method_row(each) for each in summaries], numbers=METHOD_COLUMNS[1:])
    worst = [image for image in sorted(images, key=lambda image: image.rank) if not image.error][:most]
    if worst:
        say()
        print_table(IMAGE_COLUMNS, [row for image in worst for row in image_rows(image)], numbers=("Δ score",))
        say()
        say("correlation: Spearman's, of the two maps over the photo. IoU: of the parts above the threshold.")
        say("noise: the same correlation for two seeds of the first model; – for a method without a seed.")
    if len(worst) < sum(not image.error for image in images):
        say(f"the {len(worst)} worst of {len(images)} images: --top N shows more, --json all")


def unlike_line(each: Unlike) -> str:
    """What differs, and whether it is left out."""
    left_out = "" if each.compared else "not compared: "
    return f"{left_out}{each.aspect}: first {each.first}; second {each.second}"


def answers_line(images: Sequence[ImageDrift]) -> str:
    """How many answers changed, and by how much the scores differ."""
    read = [image for image in images if not image.error]
    changed = sum(image.changed is True for image in read)
    unknown = sum(image.changed is None for image in read)
    largest = max((image.largest for image in read if image.largest is not None), default=None)
    parts = [f"{len(read)} images", f"{changed} changed {'answer' if changed == 1 else 'answers'}"]
    if unknown:
        parts.append(f"{unknown} of a class that only the first model has")
    if largest is not None:
        parts.append(f"largest difference of a score {largest:.2g}")
    return ", ".join(parts)


def method_row(summary: MethodSummary) -> tuple[str, ...]:
    """The cells of `METHOD_COLUMNS`."""
    return (
        summary.method,
        str(summary.compared),
        *map(_number, (summary.correlation, summary.worst_correlation, summary.iou, summary.worst_iou, summary.noise)),
        str(summary.beyond_noise),
    )


def image_rows(image: ImageDrift) -> list[tuple[str, ...]]:
    """The cells of `IMAGE_COLUMNS`: a row per map, at least one."""
    assert image.first is not None
    assert image.second is not None
    delta = "–" if image.score_difference is None else f"{image.score_difference:+.3f}"
    head = (
        Path(image.image).name,
        f"{image.first.label} {image.first.score:.2f}",
        f"{image.second.label} {image.second.score:.2f}" + (" changed" if image.changed else ""),
        delta,
    )
    rows: list[tuple[str, ...]] = []
    for each in image.maps:
        statuses = "" if each.statuses == ("ok", "ok") else f" {' / '.join(each.statuses)}".replace("_", " ")
        noise = None if each.noise is None else each.noise.correlation
        cells = (each.method + statuses, _number(each.drift.correlation), _number(each.drift.iou), _number(noise))
        rows.append((*(head if not rows else ("", "", "", "")), *cells))
    return rows or [(*head, "–", "–", "–", "–")]


def remark_rows(image: ImageDrift) -> Iterator[tuple[str, str]]:
    """The numbers of one image for a report, as rows of a name and a text."""
    for each in image.maps:
        noise = None if each.noise is None else each.noise.correlation
        beyond = ", beyond noise" if each.beyond_noise else ""
        yield (
            f"{each.method} of {each.target}: correlation",
            f"{_number(each.drift.correlation)}, noise {_number(noise)}{beyond}",
        )
    yield "score, second − first", _number(image.score_difference)


def comparison_tree(
    models: Sequence[dict[str, Any]], images: Sequence[ImageDrift], differences: Sequence[Unlike]
) -> dict[str, Any]:
    """The same for JSON, every image."""
    from onnxplain.comparison.image_drift import summarise

    read = [image for image in images if not image.error]
    return {
        "first": models[0],
        "second": models[1],
        "differences": [vars(each) for each in differences],
        "answers": {
            "images": len(read),
            "changed": sum(image.changed is True for image in read),
            "not_compared": sum(image.changed is None for image in read),
        },
        "methods": [vars(each) for each in summarise(images)],
        "images": [image.to_json() for image in sorted(images, key=lambda image: image.rank)],
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
