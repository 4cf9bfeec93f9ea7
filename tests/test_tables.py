"""Every row of every table is proved by a test and explained by the documentation; nothing else is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from onnxplain.cli.main import COMMANDS
from onnxplain.contract import GRAY_PRESETS, PRESETS
from onnxplain.contract.detectors import LAYOUTS
from onnxplain.data import FORMATS
from onnxplain.evaluation import METRICS
from onnxplain.explainers import METHODS
from onnxplain.explainers.needs import OF_ATTENTION
from tests.data import test_readers
from tests.detectors.fakes import FAKES
from tests.detectors.written import WRITERS
from tests.evaluation import test_metrics
from tests.explainers.references import REFERENCES
from tests.runtime.test_preprocess import BY_HAND

ROOT = Path(__file__).parents[1]

FORMAT_READERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(test_readers.WITH_LABELS, test_readers.test_the_same_boxes_in_every_format),
    "csv-labels": test_readers.test_a_csv_of_labels_and_numbers,
    "masks": test_readers.test_masks_give_one_record_per_class_with_its_pixels,
    "wsol": test_readers.test_wsol_lists_have_one_class_per_image_and_classes_in_number_order,
    "image-folder": test_readers.test_class_folders_give_labels_and_names_that_differ,
}
# Of these commands the file of tests has another name.
COMMAND_TESTS = {
    "export": "test_training_commands.py",
    "train": "test_training_commands.py",
    "methods": "test_main.py",
    "serve-config": "test_serve_config.py",
}
# Metrics that have no line in CASES.
METRIC_TESTS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("maxboxacc", "maxboxacc_v2"), test_metrics.test_hits_at_every_level),
    **dict.fromkeys(
        ("insertion", "deletion", "average_drop", "increase", "agreement_iou", "agreement_energy", "sanity"),
        test_metrics.test_metrics_of_the_predicted_class_are_those_of_their_modules,
    ),
}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(text: str, title: str) -> list[str]:
    """The names in backticks in the first column of the table whose head begins with `title`."""
    _, _, table = text.partition(f"| {title} |")
    lines = table.partition("\n\n")[0].splitlines()[2:]
    return [name for line in lines for name in re.findall(r"`([^`]+)`", line.split("|")[1])]


def sections(text: str) -> set[str]:
    return set(re.findall(r"^## (.+)$", text, re.MULTILINE))


def assert_each_once(found: Iterable[str], expected: Iterable[str], place: str) -> None:
    """Each name stands once in `place`, and no other does; the message says what to add or remove there."""
    wanted, there = Counter(list(expected)), Counter(list(found))
    missing, extra = sorted(wanted - there), sorted(there - wanted)
    assert not missing and not extra, f"{place}: add {missing}, remove {extra}"


@pytest.mark.parametrize(
    ("table", "tests", "place"),
    [
        (METHODS.own, REFERENCES, "FORMULAS in tests/explainers/test_family.py, or tests/explainers/references.py"),
        (FORMATS.own, FORMAT_READERS, "WITH_LABELS in tests/data/test_readers.py, or FORMAT_READERS in this file"),
    ],
    ids=["methods", "formats"],
)
def test_every_row_is_proved(table: Mapping[str, Any], tests: Mapping[str, Callable[..., Any]], place: str) -> None:
    assert_each_once(tests, table, place)
    assert all(test.__name__.startswith("test_") for test in tests.values())


def test_every_method_is_explained() -> None:
    methods, readme = page("docs/methods.md"), page("README.md")
    assert_each_once(rows(methods, "method | formula of `raw`"), METHODS.own, "docs/methods.md, the formulas")
    assert_each_once(rows(readme, "method | needs"), METHODS.own, "the table of methods in README.md")
    assert not METHODS.own.keys() - sections(methods), "docs/methods.md: add a section for each"
    pictures = re.findall(r"\(images/methods/(.+)\.jpg\)", methods)
    # The network of the pictures has no attention.
    shown = [name for name, row in METHODS.own.items() if row.needs not in OF_ATTENTION]
    assert_each_once(pictures, ["photos", *shown], "docs/methods.md: pictures of tools/method_pictures.py")
    assert all(row.use for row in METHODS.own.values()), "onnxplain/explainers/method_table.py: say when to use each"


def test_every_format_is_explained() -> None:
    assert_each_once(
        rows(page("docs/datasets.md"), "`format`"), [*FORMATS.own, '"digits"'], "the table of docs/datasets.md"
    )


def test_every_layout_of_detectors_is_proved_and_explained() -> None:
    for tests in (FAKES, WRITERS):
        assert_each_once(tests, LAYOUTS, "tests/detectors")
    assert_each_once(rows(page("docs/detectors.md"), "layout | exported by"), LAYOUTS, "the table of docs/detectors.md")


def test_every_metric_is_proved_and_explained() -> None:
    proved = {(kind, name) for kind, name, *_ in test_metrics.CASES} | {("heatmap", name) for name in METRIC_TESTS}
    assert proved == {(metric.kind, metric.name) for metric in METRICS}
    evaluation = page("docs/evaluation.md")
    assert {metric.name for metric in METRICS} <= set(re.findall(r"`(\w+)`", evaluation))


def test_every_preset_is_proved_and_explained() -> None:
    proved = [preprocessing for preprocessing, _ in BY_HAND]
    assert all(preset in proved for preset in (*PRESETS.values(), *GRAY_PRESETS.values()))
    assert_each_once(rows(page("docs/contract.md"), "preset"), PRESETS, "the table of presets in docs/contract.md")
    assert GRAY_PRESETS.keys() <= PRESETS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_proved_and_explained(name: str) -> None:
    tests = ROOT / "tests" / "cli" / COMMAND_TESTS.get(name, f"test_{name}.py")
    assert tests.is_file(), f"write tests/cli/test_{name}.py, or add a row to COMMAND_TESTS in this file"
    assert re.search(rf'run\(\s*"{name}"', tests.read_text(encoding="utf-8")), f"{tests.name}: run the command"
    pages = [path for path in (ROOT / "docs").glob("*.md") if path.name != "commands.md"]
    texts = [page("README.md"), *(path.read_text(encoding="utf-8") for path in pages)]
    assert any(re.search(rf"\bonnxplain {name}\b", text) for text in texts), "explain it in README.md or in docs/"


def test_every_exception_is_one() -> None:
    assert COMMAND_TESTS.keys() <= COMMANDS.keys()
    assert not any((ROOT / "tests" / "cli" / f"test_{name}.py").exists() for name in COMMAND_TESTS)
