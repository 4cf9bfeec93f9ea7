"""`onnxplain methods`: the methods that `explain -m` accepts, and which of them suit a model."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxplain.cli.options.detection import detector_option
from onnxplain.cli.options.gather import gather
from onnxplain.cli.options.heads import answer_options
from onnxplain.cli.options.method import MethodArguments
from onnxplain.cli.options.model import (
    ModelArguments,
    precision_option,
    provider_option,
    sidecar_option,
    timeout_option,
)
from onnxplain.cli.options.plain_file import ModelToExplain, plain_file_options
from onnxplain.cli.options.preprocessing import preprocessing_options
from onnxplain.cli.output.progress import progress_bar
from onnxplain.cli.output.tables import print_json, print_table
from onnxplain.cli.output.terminal import say
from onnxplain.contract import ATTENTION_LAYER, INPUT_LAYER
from onnxplain.errors import OnnxplainError
from onnxplain.extras import missing_modules

if TYPE_CHECKING:
    from onnxplain.cli.output.progress import Bar
    from onnxplain.explanations.method_choice import MethodChoice
    from onnxplain.runtime import Engine


@click.command(short_help="List the explanation methods, for a model with their cost.")
@click.option(
    "--for",
    "path",
    type=click.Path(path_type=Path),
    metavar="MODEL.onnx",
    help="List what works with this file: the runs of the model for one image, their time on this machine, and when to "
    "use the method. The options below are about this file.",
)
@click.option(
    "--evaluations",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --for: for the methods that take it, the largest number of runs.",
)
@click.option(
    "--test-time",
    metavar="flips|scales|S,…",
    help="With --for: the runs for these copies of the image, as `explain --test-time` averages over them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@plain_file_options
@answer_options
@detector_option
@sidecar_option
@provider_option
@precision_option
@timeout_option
@preprocessing_options
@gather("model", ModelArguments)
@gather("source", ModelToExplain)
def methods(source: ModelToExplain, evaluations: int | None, test_time: str | None, as_json: bool) -> None:
    """List the explanation methods: name, what the model file must have, what the method computes.

    With --for MODEL, list those that work with this file, and the reason for each that does not. A file that is not
    instrumented is instrumented on the way, as `onnxplain explain` does. The seconds are the measured time of a run on
    one image times their number. What a method computes itself is not in it, and copies that run together can take
    less.
    """
    from onnxplain.explainers import METHODS
    from onnxplain.explainers.copies.test_time import parse_test_time
    from onnxplain.explainers.method_table import TEST_TIME

    for plugin in METHODS.broken:
        say(f"onnxplain: {plugin}", err=True)
    stated = {"evaluations": evaluations, TEST_TIME: test_time}
    options = {name: value for name, value in stated.items() if value is not None}
    if test_time is not None:
        parse_test_time(test_time)
    if source.model.path is not None:
        _print_choices(_choices_for(source, options), as_json=as_json)
        return
    if source != ModelToExplain(ModelArguments(source.model.path)) or options:
        raise OnnxplainError("methods: found options about a model, expected --for MODEL beside them: add it")
    if as_json:
        print_json(
            [
                {
                    "name": name,
                    "needs": method.needs.what,
                    "summary": method.summary,
                    "use": method.use,
                    "options": method.options,
                }
                for name, method in METHODS.items()
            ]
        )
        return
    print_table(
        ("method", "needs", "what it computes"),
        [(name, method.needs.what, method.summary) for name, method in METHODS.items()],
    )


def _choices_for(source: ModelToExplain, options: Mapping[str, Any]) -> list[MethodChoice]:
    from onnxplain.explanations.method_choice import list_choices, time_passes
    from onnxplain.explanations.open_model import FALLBACK_METHOD, is_plain

    missing = missing_modules("export")
    plain = is_plain(Path(source.model.path))
    as_it_is = bool(missing) and plain
    if as_it_is:
        say(f"onnxplain: the file is not instrumented, and {missing[0]} is missing: listed as it is", err=True)
    asked = MethodArguments((FALLBACK_METHOD,) if as_it_is else (), (), {})
    with progress_bar(quiet=False) as bar:
        engine = _open_with_all(source, asked, bar) if plain and not missing else None
        engine = engine or source.open(source.options_for(asked), asked, bar).engine
        bar.say("timing the model")
        return list_choices(engine, time_passes(engine), options)


def _open_with_all(source: ModelToExplain, asked: MethodArguments, bar: Bar) -> Engine | None:
    """The copy of a plain file that `explain` makes for methods of attention and at the pixels; None if there is none.

    A file without attention, or without a gradient at its pixels, is opened for the others.
    """
    from onnxplain.explanations.open_model import IMPOSSIBLE

    for added in ((INPUT_LAYER, ATTENTION_LAYER), (INPUT_LAYER,), (ATTENTION_LAYER,)):
        with contextlib.suppress(*IMPOSSIBLE):
            return source.open(source.options_for(replace(asked, layers=(*added, "auto"))), asked, bar).engine
    return None


def _print_choices(choices: Sequence[MethodChoice], *, as_json: bool) -> None:
    if as_json:
        print_json([each.as_json for each in choices])
        return
    print_table(
        ("method", "runs", "seconds", "use it for"),
        [
            (
                each.name,
                "?" if each.passes is None else str(each.passes.evaluations),
                "?" if each.seconds is None else _seconds_text(each.seconds),
                each.use,
            )
            for each in choices
            if each.obstacle is None
        ],
        numbers=("runs", "seconds"),
    )
    lacking: dict[str, list[str]] = {}
    for each in choices:
        if each.obstacle is not None:
            lacking.setdefault(str(each.obstacle), []).append(each.name)
    if lacking:
        say()
        print_table(("does not work", "why"), [("\n".join(names), why) for why, names in lacking.items()])


def _seconds_text(seconds: float) -> str:
    """Two significant digits, and none behind the point from 10 on."""
    return f"{seconds:.0f}" if seconds >= 9.95 else f"{seconds:.2g}"
