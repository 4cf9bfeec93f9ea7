"""The generated parts of docs/method_study.md and its pictures."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.report.blocks import find_block
from benchmarks.report.cells import wrap
from benchmarks.studies.methods.blind import BLIND
from benchmarks.studies.methods.models import FOLDER
from benchmarks.studies.methods.pictures import draw_budgets, draw_gains
from benchmarks.studies.methods.study_results import REFERENCE, StudyResults
from benchmarks.studies.methods.tables import (
    boxes_table,
    budgets_table,
    code,
    curves_table,
    ranked,
    refusals_table,
    summary_table,
    trust_table,
    winners,
)
from benchmarks.studies.methods.ways import BUDGETS, LIMIT, MAIN


def write_study(results_path: Path, docs: Path) -> None:
    """Fill the block `results` of the page, and draw its pictures."""
    results = StudyResults.read(results_path)
    images = docs / "images"
    draw_gains(results, images / "method_study.svg")
    draw_budgets(results, images / "method_study_budgets.svg")
    find_block(docs / "method_study.md", "results").fill(write_results(results))


def write_results(results: StudyResults) -> str:
    """The sections with tables."""
    parts = [
        "## What was measured",
        counts_text(results),
        "## Insertion − deletion",
        wrap(
            "At 400 evaluations, or at the method's own number. The mean over both fills, with its 95 % interval. ↑ "
            f"and ↓: better or worse than `{REFERENCE}` on the same images, by at least 0.01 and beyond the interval "
            "of the difference, from four images on. Rows are in the order of the mean rank over the models; those "
            "that do not work with all models are last."
        ),
        "![How much better each method is than grad-cam on the same images, with intervals](images/method_study.svg)",
        summary_table(results),
        wrap(verdicts_text(results)),
        "## More evaluations",
        wrap(
            "The picture: insertion − deletion on the images for which all three numbers were measured. The table: the "
            "difference to 400 evaluations on the same images."
        ),
        "![Insertion − deletion over evaluations](images/method_study_budgets.svg)",
        budgets_table(results),
        "## Boxes",
        wrap("Percent, with intervals. At 400 evaluations, or at the method's own number."),
        boxes_table(results),
    ]
    for model in results.models:
        parts += [f"## {model.title}", curves_table(results, model.name), trust_table(results, model.name)]
    if refused := refusals_table(results):
        parts += ["## What did not work", refused]
    return "\n\n".join(part.strip() for part in parts)


def verdicts_text(results: StudyResults) -> str:
    """Who is better and who worse than the default method, and than the best blind map, on every model."""
    blind = next(name for name in ranked(results) if name in BLIND)
    sentences = []
    for reference in (REFERENCE, blind):
        for word, sign in (("Better", 1), ("Worse", -1)):
            names = [code(name) for name in winners(results, reference, sign)]
            sentences.append(
                f"{word} than {code(reference)} beyond the interval on every model: {', '.join(names) or 'none'}."
            )
    return " ".join(sentences)


def counts_text(results: StudyResults) -> str:
    """How many images each measurement has on each model: those of RISE, which takes part in all."""
    sentences = []
    for model in results.models:
        asked = [(f"curves at {budget:,}", "map", budget) for budget in BUDGETS]
        asked += [("two seeds", "seed", MAIN), ("shuffled weights", "shuffled", MAIN), ("limits", "limit", LIMIT)]
        counts = [f"{words} {len(list(results.of(kind, model.name, 'rise', budget)))}" for words, kind, budget in asked]
        boxes = len(results.boxes(model.name, "rise", "hits"))
        sentences.append(f"{model.title}: {', '.join([*counts, f'boxes {boxes}'])}.")
    facts = FOLDER / "digit_vit.json"
    if facts.exists():
        stored = json.loads(facts.read_text(encoding="utf-8"))
        sentences.append(
            f"The digit ViT saw {stored['scenes']:,} scenes and answers {100 * stored['accuracy']:.1f} % of the test "
            "scenes right."
        )
    return wrap("Images per measurement. " + " ".join(sentences))
