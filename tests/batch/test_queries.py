"""The queries of docs/batch.md, run as they stand there, say the same as the rows that pyarrow reads."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxplain import Engine, explain
from tests.batch.reading import rows
from tests.batch.trouble import run

PAGE = (Path(__file__).parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def out(model: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("queried")
    run(model, photos, folder)
    return folder


def block(language: str, start: str, folder: Path) -> str:
    """The code that begins with this comment, for this folder."""
    (found,) = [code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if code.startswith(start)]
    return found.replace("OUT", folder.as_posix())


def python(start: str, folder: Path) -> Any:
    names: dict[str, Any] = {}
    exec(block("python", start, folder), names)
    return names["found"]


def test_duckdb(out: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    good = [row for row in rows(out) if row["error"] is None]
    found = duckdb.sql(block("sql", "-- DuckDB: the images", out)).fetchall()
    assert [score for _, _, score in found] == sorted(row["score"] for row in good)[:10]
    ((image, error),) = duckdb.sql(block("sql", "-- DuckDB: what failed", out)).fetchall()
    assert (image, error) == next((row["image"], row["error"]) for row in rows(out) if row["error"])
    counts = {label: images for label, images, _ in duckdb.sql(block("sql", "-- DuckDB: how often", out)).fetchall()}
    assert counts == Counter(row["label"] for row in good)
    ((first,),) = duckdb.sql(f"SELECT heat FROM '{out}/*.parquet' WHERE error IS NULL LIMIT 1").fetchall()
    assert first == pytest.approx(good[0]["heat"])


def test_polars(out: Path) -> None:
    pytest.importorskip("polars", reason="polars is not installed")
    found = python("# polars", out)
    expected = [
        (row["image"], entry["index"], entry["label"], entry["score"])
        for row in rows(out)
        if row["error"] is None
        for entry in row["answers"][0]["entries"]
    ]
    assert found.rows() == expected


def test_pandas(out: Path, model: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    found = python("# pandas", out)
    alone = explain(Engine(model, threads=1), rows(out)[0]["image"], "grad-cam")
    np.testing.assert_allclose(found, alone.raw, atol=1e-3 * np.abs(alone.raw).max())
