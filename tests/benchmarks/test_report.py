"""The report: what it says of a results file, against answers that are known."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.cases import CASES
from benchmarks.report import write_report
from benchmarks.report.blocks import MissingBlockError, find_block
from benchmarks.report.cells import write_quantity, write_ratio, write_spread, write_table
from benchmarks.report.goals import GOALS, Goal
from benchmarks.report.headlines import HEADLINES
from benchmarks.report.measurement import Results
from benchmarks.report.page import write_page, write_readme_block
from benchmarks.report.pictures import memory_curves, quality_curves, quality_goal, ratio_rows
from benchmarks.report.plots import STYLES
from benchmarks.report.ratio import Ratio, paired_ratio, spread, unpaired_ratio
from benchmarks.report.remarks import UNEXPLAINED, Remark, find_reason, read_remarks
from benchmarks.report.sections import GROUPS
from benchmarks.report.verdicts import find_losses, write_goals, write_losses, write_roofline
from benchmarks.results import ResultsError

MACHINE = {"cpu": "Some CPU", "cores": 2, "memory_bytes": 8 * 2**30, "os": "Linux 6", "python": "3.11.7", "gpu": None}


def line(case: str, tool: str, samples: list[float], **changes: object) -> dict[str, object]:
    """One result, as it stands in the file."""
    return {
        "format": 1,
        "run": "first",
        "case": case,
        "group": case.split("/")[0],
        "tool": tool,
        "kind": "time",
        "unit": "s",
        "samples": samples,
        "evaluations": None,
        "agreement": None,
        "quality": None,
        "note": None,
        "error": None,
        "region": "array to array",
        "threads": 2,
        "versions": {"onnxruntime": "1.31.1"},
        "machine": MACHINE,
        "commit": "abc1234",
        "seed": 0,
        "date": "2026-11-22T20:00:00Z",
        **changes,
    }


def a_bit_of_everything() -> list[dict[str, object]]:
    """Every kind of line that a run can write."""
    agreement = {"with": "onnxplain", "correlation": 0.99991, "max_relative_difference": 3e-6}
    curve = {"128": 0.9, "256": 0.95, "1024": 0.985}
    quality = {"goal": 0.98, "seeds": 3, "limit_evaluations": 16000, "correlations": curve, "reached": 3}
    lines = [
        line("grad-cam/resnet50/b1", "onnxplain", [0.041, 0.042, 0.043], evaluations=1),
        line("grad-cam/resnet50/b1", "floor", [0.040, 0.041, 0.042], evaluations=1, agreement=None),
        line("grad-cam/resnet50/b1", "captum", [0.082, 0.084, 0.086], agreement=agreement, note="a | b"),
        line("grad-cam/resnet50/b1", "xplique", [], error="xplique has no grad-cam"),
        line(
            "rise-quality/squeezenet", "onnxplain", [3.0, 4.0, 5.0], kind="quality", evaluations=1000, quality=quality
        ),
        line("rise-quality/squeezenet", "dianna", [], kind="quality", quality={**quality, "reached": 0}),
        line("installed-size", "onnxplain", [295.0 * 2**20], kind="size", unit="bytes", region=None),
        line("installed-size", "captum", [1030.0 * 2**20], kind="size", unit="bytes", region=None),
        line("throughput/resnet50", "onnxplain", [20.0, 21.0], unit="images/s"),
        line("throughput/resnet50", "captum", [10.0, 10.5], unit="images/s"),
        line("something-new/x", "onnxplain", [0.5]),
    ]
    for count in (1000, 8000):
        where = f"memory-masks/mobilenetv2/{count}"
        lines.append(line(where, "onnxplain", [180.0 * 2**20], kind="memory", unit="bytes"))
        lines.append(line(where, "dianna", [0.9 * count * 2**20], kind="memory", unit="bytes"))
    return lines


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the two pages and the results file."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "benchmarks.md").write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    (tmp_path / "README.md").write_text("# Name\n<!-- benchmarks -->\n<!-- /benchmarks -->\n")
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in a_bit_of_everything()))
    return tmp_path


def test_the_same_results_give_the_same_bytes(root):
    written = write_report(root / "results.jsonl", root)
    first = {path: path.read_bytes() for path in written}
    assert write_report(root / "results.jsonl", root) == written
    assert {path: path.read_bytes() for path in written} == first
    assert len(first) == 6


def test_pages_keep_what_people_wrote(root):
    write_report(root / "results.jsonl", root)
    page = (root / "docs" / "benchmarks.md").read_text()
    assert page.startswith("before\n<!-- results -->\n")
    assert page.endswith("<!-- /results -->\nafter\n")
    assert "\nold\n" not in page
    assert "captum" in (root / "README.md").read_text()


def test_pictures_are_small_drawings_without_background(root):
    pictures = [path for path in write_report(root / "results.jsonl", root) if path.suffix == ".svg"]
    assert len(pictures) == 4
    for path in pictures:
        text = path.read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert len(text) < 200_000
        assert "#ffffff" not in text
        assert "2026" not in text
        assert "<text" in text


def test_pages_name_only_pictures_that_exist(root):
    write_report(root / "results.jsonl", root)
    for page in (root / "docs" / "benchmarks.md", root / "README.md"):
        links = [part.split(")")[0] for part in page.read_text().split("](")[1:]]
        names = [link for link in links if link.endswith(".svg")]
        assert names
        assert all((page.parent / name).is_file() for name in names)


@pytest.mark.parametrize("name", ["docs/benchmarks.md", "README.md"])
def test_a_page_without_its_block_is_refused(root, name):
    (root / name).write_text("nothing here\n")
    before = sorted(root.rglob("*"))
    with pytest.raises(MissingBlockError, match=Path(name).name):
        write_report(root / "results.jsonl", root)
    assert sorted(root.rglob("*")) == before


def test_a_block_is_replaced_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nb\n<!-- /x -->\n<!-- y -->\nc\n<!-- /y -->\n")
    find_block(page, "x").fill("new\n")
    assert page.read_text() == "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\n<!-- y -->\nc\n<!-- /y -->\n"


def test_the_pages_of_this_repository_have_their_blocks():
    repository = Path(__file__).parents[2]
    assert find_block(repository / "docs" / "benchmarks.md", "results").after
    assert find_block(repository / "README.md", "benchmarks").after


# Ratios.


def test_paired_ratio_does_not_see_a_drift_that_both_shared():
    drift = np.linspace(1, 3, 21)
    ratio = paired_ratio(0.2 * drift, 0.1 * drift)
    assert ratio.median == pytest.approx(2)
    assert (ratio.low, ratio.high) == pytest.approx((2, 2))
    assert unpaired_ratio(0.2 * drift, 0.1 * drift).high > 2.1


def test_paired_ratio_is_the_median_of_the_ratios_not_the_ratio_of_the_medians():
    assert paired_ratio([1.0, 6.0, 9.0], [1.0, 2.0, 9.0]).median == 1
    assert unpaired_ratio([1.0, 6.0, 9.0], [1.0, 2.0, 9.0]).median == 3


def test_the_interval_covers_the_truth():
    """In 19 of 20 experiments or so: 200 of them, the true ratio 1.3."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        machine = rng.uniform(1, 2, 25)
        ratio = paired_ratio(1.3 * machine * rng.lognormal(0, 0.05, 25), machine * rng.lognormal(0, 0.05, 25))
        hits += ratio.low <= 1.3 <= ratio.high
    assert 180 <= hits <= 200


def test_pairs_of_different_length_are_refused():
    with pytest.raises(ValueError, match="3 and 2 samples"):
        paired_ratio([1.0, 2.0, 3.0], [1.0, 2.0])


def test_spread_holds_the_quartiles():
    measured = spread([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (measured.lower, measured.median, measured.upper, measured.count) == (2, 3, 4, 5)


@pytest.mark.parametrize("changes", [{"run": "second"}, {"date": "2026-11-23T08:00:00Z"}], ids=["run", "block"])
def test_ratios_are_taken_where_both_were_measured_in_turns_and_the_newest_figure_counts(changes):
    results = Results(
        [
            line("a/b", "onnxplain", [1.0, 2.0]),
            line("a/b", "captum", [3.0, 6.0]),
            line("a/b", "onnxplain", [10.0, 20.0], **changes),
        ]
    )
    assert results.find("a/b", "onnxplain").samples == (10.0, 20.0)
    assert results.compare("a/b", "captum", "onnxplain") == Ratio(3, 3, 3)


def test_images_per_second_are_turned_round():
    results = Results(
        [line("t/x", "onnxplain", [20.0], unit="images/s"), line("t/x", "captum", [5.0], unit="images/s")]
    )
    assert results.compare("t/x", "captum", "onnxplain").median == 4


def test_the_floor_of_equal_quality_grows_with_the_evaluations():
    results = Results(
        [
            line("q/x", "captum", [9.0, 9.0, 9.0], kind="quality", evaluations=6000),
            line("q/x", "floor", [1.0, 1.0], kind="quality", evaluations=1000),
        ]
    )
    assert results.compare("q/x", "captum", "floor").median == 1.5


# What a page says.


def page_of(*lines: dict[str, object]) -> str:
    return write_page(Results(lines), (), {})


def test_a_tool_that_failed_is_a_row_with_the_reason():
    page = page_of(
        line("grad-cam/x/b1", "onnxplain", [1.0]),
        line("grad-cam/x/b1", "xplique", [], error="no wheel for this Python"),
        line("grad-cam/y/b1", "xplique", [], error="no wheel for this Python"),
    )
    assert "| xplique | x/b1, y/b1 | no wheel for this Python |" in page


def test_a_tool_that_was_never_asked_is_named():
    page = page_of(line("grad-cam/x/b1", "onnxplain", [1.0]))
    assert (
        "Tools not asked in this run: floor, torch, torchcam, captum, grad-cam, xplique, dianna, openvino-xai" in page
    )


def test_a_group_that_was_left_out_is_named():
    assert ", On a GPU." in page_of(line("grad-cam/x/b1", "onnxplain", [1.0])).replace("\n", " ")


def test_a_quick_run_says_that_its_figures_mean_nothing():
    assert "mean nothing" in page_of(line("grad-cam/x/b1", "onnxplain", [1.0], run="abc-quick"))
    assert "mean nothing" not in page_of(line("grad-cam/x/b1", "onnxplain", [1.0]))


def test_a_goal_of_quality_that_no_run_reached_is_a_row_that_says_so():
    quality = {"goal": 0.98, "seeds": 3, "reached": 0}
    page = page_of(line("rise-quality/x", "dianna", [], kind="quality", quality=quality))
    assert "| dianna | x | reached 0.98 in 0 of 3 trials |" in page


@pytest.mark.parametrize(
    ("correlation", "difference", "cell"),
    [
        (0.98761, 0.05, "0.9876, 5e-02 (onnxplain)"),
        (0.98761, None, "0.9876 (onnxplain)"),
        (-0.12341, 0.05, "-0.1234 (onnxplain)"),
    ],
)
def test_agreement_stands_beside_the_time(correlation, difference, cell):
    agreement = {"with": "onnxplain", "correlation": correlation, "max_relative_difference": difference}
    page = page_of(line("grad-cam/x/b1", "captum", [1.0], agreement=agreement))
    assert f"| {cell} |" in page


def test_results_of_two_machines_are_told_apart():
    other = {**MACHINE, "cpu": "Other CPU", "gpu": "Some GPU"}
    page = page_of(line("grad-cam/x/b1", "onnxplain", [1.0]), line("gpu/x", "onnxplain", [1.0], machine=other))
    assert "| 2 | Other CPU, 2 cores, 8.0 GiB, Some GPU |" in page
    assert "\nMachine 2.\n" in page
    assert "\nMachine 2.\n" not in page_of(line("grad-cam/x/b1", "onnxplain", [1.0]))


def test_headlines_are_ours_in_bold_and_a_dash_where_nothing_was_measured():
    block = write_readme_block(Results(a_bit_of_everything()), "")
    assert "| Grad-CAM, ResNet-50 | **42.0 ms** | 41.0 ms | 84.0 ms | – |" in block
    assert "2026-11-22" in block
    assert "Some CPU" in block


@pytest.mark.parametrize(
    ("limit", "bound", "samples", "verdict"),
    [
        (1.05, "at most", ([1.04, 1.04], [1.0, 1.0]), "yes"),
        (1.05, "at most", ([1.06, 1.06], [1.0, 1.0]), "**no**: because"),
        (1.8, "at least", ([1.0, 1.0], [1.9, 1.9]), "yes"),
        (1.8, "at least", ([1.0, 1.0], [1.7, 1.7]), "**no**: because"),
        (1.8, "at least", ([1.0, 1.0], []), "not measured: peer: too old"),
        (1.8, "at least", None, "not measured: onnxplain was not asked"),
    ],
)
def test_goals(monkeypatch, limit, bound, samples, verdict):
    monkeypatch.setattr("benchmarks.report.verdicts.GOALS", (Goal("goal", "a/b", "peer", bound, limit),))
    lines = []
    if samples is not None:
        error = None if samples[1] else "too old"
        lines = [line("a/b", "onnxplain", samples[0]), line("a/b", "peer", samples[1], error=error)]
    assert f"| {verdict} |" in write_goals(Results(lines), (Remark("a/*", "peer", "because"),))


def test_a_goal_across_two_cases():
    goal = Goal("flat", "m/x/10000", "onnxplain", "at most", 1.05, other_case="m/x/100")
    results = Results([line("m/x/100", "onnxplain", [100.0]), line("m/x/10000", "onnxplain", [104.0])])
    assert goal.measure(results).median == pytest.approx(1.04)
    assert goal.measure(Results([])) is None


def test_a_goal_is_not_met_by_the_trials_that_were_lucky(monkeypatch):
    monkeypatch.setattr("benchmarks.report.verdicts.GOALS", (Goal("goal", "q/x", "peer", "at least", 4),))
    luck = {"goal": 0.98, "seeds": 3, "reached": 2}
    lines = [
        line("q/x", "onnxplain", [1.0, 1.0], kind="quality", quality=luck),
        line("q/x", "peer", [9.0, 9.0, 9.0], kind="quality", quality={**luck, "reached": 3}),
    ]
    assert "not measured: onnxplain: reached 0.98 in 2 of 3 trials" in write_goals(Results(lines), ())


def test_losses_are_what_lies_below_one_with_its_whole_interval():
    results = Results(
        [
            line("a/b", "onnxplain", [1.0, 1.0, 1.0]),
            line("a/b", "floor", [0.5, 0.5, 0.5]),
            line("a/b", "torch@forward", [0.5, 0.5, 0.5]),
            line("a/b", "captum", [0.9, 0.9, 0.9]),
            line("a/b", "dianna", [0.9, 0.9, 1.2]),
            line("a/b", "onnxplain@script", [0.5, 0.5, 0.5]),
        ]
    )
    assert [(entry.tool, ratio.median) for entry, ratio in find_losses(results)] == [("captum", pytest.approx(0.9))]
    assert UNEXPLAINED in write_losses(results, ())
    assert "| a/b | captum | 0.900 | small nets |" in write_losses(results, (Remark("a/*", "capt*", "small nets"),))


def test_roofline_begins_with_what_is_furthest_from_the_floor():
    lines = [
        line("a/near", "onnxplain", [1.1]),
        line("a/near", "floor", [1.0], evaluations=1),
        line("a/far", "onnxplain", [3.0]),
        line("a/far", "floor", [1.0], evaluations=1000),
        line("a/far", "captum", [4.0]),
        line("a/far", "torchcam", [3.5]),
    ]
    rows = write_roofline(Results(lines)).splitlines()[2:]
    assert rows == ["| a/far | 1,000 | 1.00 s | 3.00 | torchcam 3.50 |", "| a/near | 1 | 1.00 s | 1.100 | – |"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0442, "s", "44.2 ms"),
        (4.2, "s", "4.20 s"),
        (123.4, "s", "123 s"),
        (0.000013, "s", "13.0 µs"),
        (0.0000001, "s", "0.100 µs"),
        (0.0, "s", "0.00 µs"),
        (295 * 2**20, "bytes", "295 MiB"),
        (7126 * 2**20, "bytes", "7,126 MiB"),
        (22.44, "images/s", "22.4 images/s"),
    ],
)
def test_quantities(value, unit, text):
    assert write_quantity(value, unit) == text


def test_quartiles_are_in_the_unit_of_the_median():
    assert write_spread(spread([0.9, 1.1, 1.3]), "s") == "1.10 s [1.00, 1.20]"
    assert write_spread(spread([1.1]), "s") == "1.10 s"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (Ratio(1.0151, 1.0061, 1.0249), "1.015 [1.006, 1.025]"),
        (Ratio(1.98, 1.9, 2.04), "1.980 [1.900, 2.04]"),
        (Ratio(35.12, 35.12, 35.12), "35.1"),
        (Ratio(0.0123, 0.0123, 0.0123), "0.012"),
        (None, "–"),
    ],
)
def test_ratios_as_text(ratio, text):
    assert write_ratio(ratio) == text


def test_tables_leave_out_columns_that_are_empty_and_escape_bars():
    assert write_table(["a", "b", "c"], [["1", "–", "x|y"], ["2", "", "z"]]) == (
        "| a | c |\n| --- | --- |\n| 1 | x\\|y |\n| 2 | z |\n"
    )
    assert write_table(["a", "b"], []) == ""


# What is refused, and tables that have to stay in step.


def test_results_of_another_format_are_refused_in_one_line(root):
    (root / "results.jsonl").write_text(json.dumps(line("a/b", "onnxplain", [1.0], format=2)) + "\n")
    before = sorted(root.rglob("*"))
    with pytest.raises(ResultsError, match=r"^[^\n]*found format 2[^\n]*$"):
        write_report(root / "results.jsonl", root)
    assert sorted(root.rglob("*")) == before


def test_a_line_without_its_fields_is_refused():
    broken = line("a/b", "onnxplain", [1.0])
    del broken["machine"]
    with pytest.raises(ResultsError, match="'a/b' without machine"):
        Results([broken])


def test_the_first_remark_that_matches_is_the_reason():
    remarks = (Remark("rise-*", "openvino-xai@*", "bfloat16"), Remark("*", "*", "else"))
    assert find_reason(remarks, "rise-masks/x", "openvino-xai@bf16") == "bfloat16"
    assert find_reason(remarks, "rise-masks/x", "openvino-xai") == "else"
    assert find_reason((), "rise-masks/x", "captum") == UNEXPLAINED


TOOLS_OF = {case.name: case.tools for case in CASES}


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.case}-{goal.tool}")
def test_every_goal_is_of_a_case_that_asks_both_tools(goal):
    assert goal.ours in TOOLS_OF[goal.case]
    assert goal.tool in TOOLS_OF[goal.other_case or goal.case]


@pytest.mark.parametrize("case", HEADLINES)
def test_every_headline_is_a_case_of_ours(case):
    assert "onnxplain" in TOOLS_OF[case]


def test_every_group_has_a_heading_and_every_heading_a_group():
    assert {case.group for case in CASES} == set(GROUPS)


def test_every_remark_has_a_reason_and_is_of_a_case_that_asks_the_tool():
    for remark in read_remarks():
        asked = [tools for case, tools in TOOLS_OF.items() if fnmatchcase(case, remark.case)]
        assert any(fnmatchcase(tool, remark.tool) for tools in asked for tool in tools), remark
        assert remark.reason.strip()


# What the pictures are drawn of.


def test_ratio_rows_leave_out_the_reference_variants_and_cases_without_pairs():
    results = Results(
        [
            line("a/x", "onnxplain", [2.0]),
            line("a/x", "captum", [6.0]),
            line("a/x", "captum@other", [7.0]),
            line("a/y", "captum", [6.0]),
        ]
    )
    assert ratio_rows(results, {"a/x": "X", "a/y": "Y"}, "onnxplain") == [("X", {"captum": 3.0})]


def test_memory_curves_are_of_each_model_over_the_count():
    results = Results(
        [
            line(f"memory-masks/net/{count}", tool, [bytes_], kind="memory", unit="bytes")
            for count, tool, bytes_ in ((1000, "onnxplain", 2**21), (8000, "onnxplain", 2**22), (1000, "dianna", 2**30))
        ]
    )
    expected = {"masks, net": [("onnxplain", {1000: 2, 8000: 4}), ("dianna", {1000: 1024})]}
    assert memory_curves(results) == expected


def test_quality_curves_are_distances_from_the_limit():
    quality = {"goal": 0.98, "correlations": {"128": 0.75, "1024": 0.984375}}
    results = Results([line("rise-quality/net", "dianna", [1.0], kind="quality", quality=quality)])
    assert quality_curves(results) == {"net": [("dianna", {128: 0.25, 1024: 0.015625})]}
    assert quality_goal(results) == pytest.approx(0.02)


def test_every_tool_has_a_style_of_its_own():
    asked = {tool.partition("@")[0] for case in CASES for tool in case.tools if case.group != "boxes"}
    assert asked <= set(STYLES)
    assert len(set(STYLES.values())) == len(STYLES)
