"""The entry point: help, version, interruption, closed pipes, missing extras; some of it in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import warnings
from typing import get_args

import click
import pytest

from onnxplain import Engine, __version__
from onnxplain.cli.main import COMMANDS, cli
from onnxplain.cli.methods import methods
from onnxplain.explainers import METHODS, RISE, AugmentedGradCAM, supported
from onnxplain.explainers.needs import INPUT_GRADIENT
from onnxplain.explainers.regions import CAM_THRESHOLD, RISE_THRESHOLD
from onnxplain.runtime import DEFAULT_MAX_MEGAPIXELS
from tests.cli.process import run_without


def command_of(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def help_of(name: str, option: str) -> str:
    (parameter,) = [entry for entry in command_of(name).params if option in entry.opts]
    assert isinstance(parameter, click.Option)
    return str(parameter.help)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_options(name, run):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage: onnxplain" in result.stdout
    for parameter in command_of(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[-1] in result.stdout


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("explain", "--masks", RISE.masks),
        ("explain", "--seed", RISE.seed),
        ("explain", "--fill", RISE.fill),
        ("explain", "--explain-output", RISE.explain_output),
        ("explain", "--copies", AugmentedGradCAM.copies),
        ("explain", "--rotation", AugmentedGradCAM.rotation),
        ("explain", "--translation", f"{AugmentedGradCAM.translation * 224:g}/224"),
        ("explain", "--zoom", f"{AugmentedGradCAM.zoom:g}"),
        ("explain", "--mode", AugmentedGradCAM.mode),
        ("explain", "--threshold", CAM_THRESHOLD),
        ("explain", "--threshold", RISE_THRESHOLD),
        ("explain", "--max-megapixels", f"{DEFAULT_MAX_MEGAPIXELS:g}"),
        ("predict", "--max-megapixels", f"{DEFAULT_MAX_MEGAPIXELS:g}"),
    ],
)
def test_defaults_in_the_help_are_those_of_the_library(command, option, value):
    text = help_of(command, option)
    assert any(phrase in text for phrase in (f"Default: {value}.", f"Default: {value},", f"{value} for"))


def test_the_seed_of_evaluate_names_everything_that_it_draws():
    for drawn in ("splits", "mosaics", "--limit", "digits", "intervals", "masks", "noise", "copies", "Default: 0."):
        assert drawn in help_of("evaluate", "--seed")


def test_training_defaults_in_the_help():
    from onnxplain.cli.options.training import CHOICE_NAMES
    from onnxplain.cli.train import train
    from onnxplain.training.digits import DIGITS_OPTIONS, IMAGES_PER_EPOCH
    from onnxplain.training.loss import BoxLoss
    from onnxplain.training.options import Supervision, TrainingOptions

    choices = {parameter.name: parameter.type for parameter in train.params}
    assert tuple(choices["supervision"].choices) == get_args(Supervision)
    assert tuple(choices["box_loss"].choices) == get_args(BoxLoss)
    photos = TrainingOptions()
    for name in CHOICE_NAMES:
        flag = {"size_hw": "--size"}.get(name, f"--{name.replace('_', '-')}")
        ours, digits = (
            "x".join(map(str, value)) if name == "size_hw" else value
            for value in (getattr(photos, name), getattr(DIGITS_OPTIONS, name))
        )
        said = f"Default: {ours}" + ("" if ours == digits else f", digits {digits}")
        assert name == "pretrained" or any(f"{said}{end}" in help_of("train", flag) for end in ".,;")
    assert f"Default: {IMAGES_PER_EPOCH}." in help_of("train", "--images-per-epoch")


def test_without_a_command_there_is_help(run):
    result = run()
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout


def test_version(run):
    assert run("--version").stdout == f"onnxplain, version {__version__}\n"


def test_methods(run):
    table = run("methods").stdout
    rows = json.loads(run("methods", "--json").stdout)
    assert [row["name"] for row in rows] == list(METHODS)
    for name, method in METHODS.items():
        assert name in table
        assert method.summary in table


def test_methods_for_a_model(run, models):
    result = run("methods", "--for", models / "instrumented.onnx", "--evaluations", "200")
    assert result.exit_code == 0
    working, lacking = result.stdout.split("does not work")
    for name in supported(Engine(models / "instrumented.onnx")):
        assert f"\n{name} " in working or name == "sobol"
    assert METHODS["rise"].use in working
    assert "expected at least 245 for sobol" in lacking
    rows = json.loads(run("methods", "--for", models / "instrumented.onnx", "--json").stdout)
    assert [row["name"] for row in rows] == list(METHODS)
    rise = next(row for row in rows if row["name"] == "rise")
    assert rise["works"] and rise["evaluations"] == 801 and rise["seconds"] > 0 and rise["obstacle"] is None
    words = ("--test-time", "flips,0.8", "--evaluations", "1000")
    rows = json.loads(run("methods", "--for", models / "instrumented.onnx", "--json", *words).stdout)
    assert {row["name"]: row["evaluations"] for row in rows if row["works"]}.items() >= {
        "grad-cam": 4,
        "rise": 1000,
        "smooth-grad-cam++": 68,
    }.items()


def test_methods_refuses_what_are_no_copies_of_an_image(run, models):
    result = run("methods", "--for", models / "instrumented.onnx", "--test-time", "7")
    assert result.exit_code == 2
    assert "found the scale 7" in result.stderr
    assert result.stdout == ""


def test_methods_for_a_plain_file_are_those_after_instrumenting(run, models):
    result = run("methods", "--for", models / "conv.onnx", "--json")
    works = {row["name"] for row in json.loads(result.stdout) if row["works"]}
    at_pixels = {name for name, method in METHODS.items() if method.needs is INPUT_GRADIENT}
    assert works == {*supported(Engine(models / "instrumented.onnx")), *at_pixels}
    assert "layers input, map" in result.stderr


def test_methods_for_a_plain_file_without_the_extra(models):
    words = ["-m", "onnxplain", "methods", "--json", "--for", str(models / "conv.onnx")]
    result = run_without(("onnx", "onnx_ir", "onnxscript"), *words)
    assert result.returncode == 0, result.stderr
    works = {row["name"] for row in json.loads(result.stdout) if row["works"]}
    assert works == set(supported(Engine(models / "conv.onnx")))
    assert "onnx is missing: listed as it is" in result.stderr


@pytest.mark.parametrize("words", [["--evaluations", "9"], ["--provider", "cpu"], ["--no-cache"], ["--resize", "crop"]])
def test_methods_without_a_model_takes_no_options_about_one(run, words):
    result = run("methods", *words)
    assert result.exit_code == 2
    assert "expected --for MODEL" in result.stderr


def test_interruption_is_130(run, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxplain.cli.methods.print_table", interrupt)
    assert run("methods").exit_code == 130


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["explain", "--help"], ["export", "--help"], ["evaluate", "--help"]]
)
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys\nfrom onnxplain.cli.main import cli\n"
        f"cli.main({arguments!r}, prog_name='onnxplain', standalone_mode=False)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("numpy", "cv2", "onnxruntime", "torch", "onnx", "rich", "PIL", "scipy"):
        assert f"'{heavy}'" not in result.stderr
    assert "'click'" in result.stderr


def test_a_closed_pipe_is_quiet():
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxplain.cli.main", "methods", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() != 0


def test_a_process_ends_with_one_line_and_no_traceback(tmp_path):
    result = run_without([], "-m", "onnxplain.cli.main", "inspect", str(tmp_path / "missing.onnx"))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("onnxplain: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("missing", "arguments", "install"),
    [
        (["onnx"], ["instrument", "a.onnx", "-o", "b.onnx"], "onnxplain[export]"),
        (["onnx_ir"], ["instrument", "a.onnx", "-o", "b.onnx"], "onnxplain[export]"),
        (["torch"], ["export", "a.pt", "-o", "b.onnx"], "onnxplain[torch]"),
        (["onnx"], ["export", "a.pt", "-o", "b.onnx"], "onnxplain[torch]"),
        (["torch"], ["train", "digits", "-o", "a.pt"], "onnxplain[train]"),
        (["sklearn"], ["train", "digits", "-o", "a.pt"], "onnxplain[train]"),
        (["onnxruntime"], ["inspect", "a.onnx"], "onnxplain[cpu]"),
    ],
)
def test_missing_extras_are_named(missing, arguments, install, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not looked at")
    result = run_without(missing, "-m", "onnxplain.cli.main", *arguments, folder=tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert f'pip install "{install}"' in result.stderr
    assert not (tmp_path / "b.onnx").exists()


def test_progress_goes_to_a_terminal_and_never_into_a_pipe(models, images, tmp_path):
    pty = pytest.importorskip("pty")
    terminal, stderr = pty.openpty()
    command = [sys.executable, "-m", "onnxplain.cli.main", "explain", models / "explainable.onnx", images]
    result = subprocess.run([*command, "-o", tmp_path / "out"], stdout=subprocess.PIPE, stderr=stderr, text=True)
    os.close(stderr)
    parts = []
    # The other end is closed: after the last bytes comes an error.
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    shown = b"".join(parts).decode()
    os.close(terminal)
    assert result.returncode == 0
    assert "100 %" in shown
    assert "c.PNG" in shown
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == [str(images / name) for name in ("a.png", "b.jpg", "c.PNG")]
    assert "\x1b" not in result.stdout


def test_a_warning_of_another_package_is_one_line(run, monkeypatch):
    def warn(**_options):
        warnings.simplefilter("always")
        for text in ("first\nline \x1b[31m\u202e", "second"):
            warnings.warn(text, UserWarning, stacklevel=1)

    monkeypatch.setattr(methods, "callback", warn)
    result = run("methods")
    assert result.stderr.splitlines() == [
        r"onnxplain: warning: first line \x1b[31m\u202e",
        "onnxplain: warning: second",
    ]
