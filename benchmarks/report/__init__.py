"""Writes the report pages from a results file; the same file gives the same bytes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.blocks import MissingBlockError, find_block
from benchmarks.report.measurement import Results
from benchmarks.report.page import write_page, write_readme_block
from benchmarks.report.pictures import draw_pictures
from benchmarks.report.remarks import read_remarks
from benchmarks.results import read_results

__all__ = ["MissingBlockError", "write_report"]


def write_report(results_path: Path, root: Path) -> list[Path]:
    """Rewrite the pictures and the generated parts of docs/benchmarks.md and README.md in `root`; returns the paths."""
    results = Results(read_results(results_path))
    page = find_block(root / "docs" / "benchmarks.md", "results")
    readme = find_block(root / "README.md", "benchmarks")
    pictures = draw_pictures(results, root / "docs" / "images")
    page.fill(write_page(results, read_remarks(), {name: it.embed("images") for name, it in pictures.items()}))
    readme.fill(
        write_readme_block(results, pictures["overview"].embed("docs/images") if "overview" in pictures else "")
    )
    return [page.path, readme.path, *(picture.path for picture in pictures.values())]
