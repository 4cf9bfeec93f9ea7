"""Write the page: the package's template, style and scripts with the data of a report, in one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from onnxplain.errors import OnnxplainError
from onnxplain.explainers.drawing.colours import colourise
from onnxplain.extras import needs_extra
from onnxplain.files.atomic import write_atomically
from onnxplain.picture_defaults import DEFAULT_ALPHA, DEFAULT_COLORMAP
from onnxplain.report.plot import Plot
from onnxplain.report.report_images import ReportImage
from onnxplain.version import __version__

MOST_EMBEDDED = 50
"""Reports of more images keep the data of each image in a file of its own beside the page."""

_SCRIPTS = ("map_math.js", "plot.js", "report.js")
_SIDE_FILE = re.compile(r"\d{5,}\.js")


@dataclass(frozen=True)
class Report:
    """What is shown. `cards`: per run its name and the rows of its card. `findings`, `plots`: above the images.

    `colormap`, `alpha`: how heat is drawn at first.
    """

    title: str
    images: Sequence[ReportImage]
    cards: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    findings: Sequence[Table] = ()
    colormap: str = DEFAULT_COLORMAP
    alpha: float = DEFAULT_ALPHA
    plots: Sequence[Plot] = ()


@dataclass(frozen=True)
class Table:
    """A table above the images. `folded`: its rows are shown on a click."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


def write_report(report: Report, path: Path, on_image: Callable[[], None] = lambda: None) -> tuple[Path, ...]:
    """Write the page, and the side files if it has more than `MOST_EMBEDDED` images; returns the paths.

    `on_image` is called after each image. Raises OnnxplainError for lines of the runs that cannot be used, without the
    extra `report`, and if a file cannot be written.
    """
    environment = _environment()
    beside = path.with_name(f"{path.stem}_files") if len(report.images) > MOST_EMBEDDED else None
    entries, details, written = [], [], [path]
    if beside is not None:
        _prepare(beside, path)
    for number, image in enumerate(report.images):
        entry, detail = image.read()
        entries.append(entry)
        if beside is None:
            details.append(detail)
        else:
            file = beside / f"{number:05}.js"
            write_atomically(file, f"onnxplainReceive({number}, {_script_json(detail)});\n".encode())
            written.append(file)
        on_image()
    if beside is not None:
        for left in set(beside.iterdir()) - set(written):
            if _SIDE_FILE.fullmatch(left.name):
                left.unlink()
    data = {
        "runs": [name for name, _ in report.cards],
        "images": entries,
        "details": details,
        "beside": None if beside is None else beside.name,
        "palette": _palette(report.colormap),
        "alpha": report.alpha,
        "plots": [plot.as_data() for plot in report.plots],
    }
    scripts, style = [_text(name) for name in _SCRIPTS], _text("report.css")
    html = environment.get_template("report.html.j2").render(
        report=report,
        version=__version__,
        data=data,
        scripts=scripts,
        style=style,
        policy=_policy(scripts, style),
        counts=_counts(entries),
    )
    # A file name that is not UTF-8 holds surrogates (PEP 383).
    write_atomically(path, html.encode("utf-8", "backslashreplace"))
    return tuple(written)


def require_report_extra() -> None:
    """Raise OnnxplainError if the extra `report` is missing; called before the work begins."""
    _environment()


def _environment() -> Any:
    with needs_extra("report", "the report needs it"):
        import jinja2
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_text), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def _prepare(beside: Path, path: Path) -> None:
    try:
        beside.mkdir(exist_ok=True)
    except OSError as error:
        raise OnnxplainError(
            f"{beside}: cannot be created ({error.strerror}), expected a folder for the data of {path.name}: give "
            "another file with -o"
        ) from error


def _text(name: str) -> str:
    return (files("onnxplain.report") / "page" / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str], style: str) -> str:
    """The Content Security Policy: these scripts and what they load, this style, embedded pictures, nothing else."""
    trusted = " ".join(f"'{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {trusted} 'strict-dynamic'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _script_json(tree: Any) -> str:
    return json.dumps(tree, allow_nan=False, separators=(",", ":"))


def _palette(colormap: str) -> str:
    """The 256 colours of a colour map, as base64 of R, G, B."""
    import numpy as np

    steps = np.linspace(0, 1, 256, dtype=np.float32)[None]
    return base64.b64encode(colourise(steps, colormap).tobytes()).decode("ascii")


def _counts(entries: Sequence[dict[str, Any]]) -> dict[str, int]:
    return {
        "images": len(entries),
        "doubtful": sum(bool(entry["concerns"]) for entry in entries),
        "unreadable": sum(entry["status"] == "unreadable" for entry in entries),
    }
