"""A comparison of two models as tables on the terminal, worst images first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.cli.output.tables import print_table
from onnxplain.cli.output.terminal import say

if TYPE_CHECKING:
    from onnxplain.comparison.head_drift import HeadDrift
    from onnxplain.comparison.image_drift import ImageDrift, MethodSummary
    from onnxplain.comparison.unlike import Unlike

METHOD_COLUMNS = ("method", "images", "correlation", "worst", "IoU", "worst", "noise", "beyond noise")
IMAGE_COLUMNS = ("image", "first", "second", "Δ score", "method", "correlation", "IoU", "noise")


def print_comparison(images: Sequence[ImageDrift], differences: Sequence[Unlike], most: int) -> None:
    """Print what differs between the models, the answers, a row per method, and the `most` worst images."""
    from onnxplain.comparison.image_drift import summarise

    for each in differences:
        say(unlike_line(each))
    for line in answers_lines(images):
        say(line)
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


def answers_lines(images: Sequence[ImageDrift]) -> list[str]:
    """Per head how many answers changed, and by how much the scores or numbers differ."""
    read = [image for image in images if not image.error]
    rows: dict[str, list[HeadDrift]] = {}
    for image in read:
        for head in image.heads:
            rows.setdefault(head.head, []).append(head)
    lines = []
    for name, heads in rows.items():
        parts = [f"{len(heads)} images"]
        numbers = heads[0].kind == "values"
        if not numbers:
            changed = sum(head.changed is True for head in heads)
            parts.append(f"{changed} changed {'answer' if changed == 1 else 'answers'}")
        unknown = sum(head.changed is None for head in heads)
        if unknown:
            parts.append(f"{unknown} of a {'number' if numbers else 'class'} that only the first model has")
        largest = max((head.largest for head in heads if head.largest is not None), default=None)
        if largest is not None:
            parts.append(f"largest difference of a {'number' if numbers else 'score'} {largest:.2g}")
        lines.append((f"{name}: " if len(rows) > 1 else "") + ", ".join(parts))
    return lines or [f"{len(read)} images"]


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
    answer, *others = image.heads
    delta = "–" if answer.difference is None else f"{answer.difference:+.3f}"
    changed = ["changed"] if answer.changed else []
    changed += [f"{other.head} changed" for other in others if other.changed]
    head = (
        Path(image.image).name,
        answer.first.text,
        " ".join([answer.second.text, ", ".join(changed)]).strip(),
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
    for head in image.heads:
        name = "" if head is image.answer else f"{head.head}: "
        difference = "number" if head.kind == "values" else "score"
        if head.changed:
            yield f"{name}changed", f"{head.first.label} → {head.second.label}"
        yield f"{name}{difference}, second − first", _number(head.difference)


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
            "changed": sum(image.answer.changed is True for image in read),
            "not_compared": sum(image.answer.changed is None for image in read),
        },
        "methods": [vars(each) for each in summarise(images)],
        "images": [image.to_json() for image in sorted(images, key=lambda image: image.rank)],
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
