"""The programs of docs/contract_programs.md: Grad-CAM in Python, JavaScript and C, without onnxplain."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from onnxplain import Engine
from onnxplain.demo import MODEL
from onnxplain.explainers import GradCAM
from onnxplain.exporters import instrument
from tests.cli.process import BEYOND_CPU, run_without

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "examples" / "programs"
PAGE = ROOT / "docs" / "contract_programs.md"
FENCES = {"grad_cam.py": "python", "grad_cam.mjs": "js", "grad_cam.c": "c"}
TOLERANCE = 1e-5
NODE_MODULES = Path(os.environ.get("ONNXRUNTIME_WEB", ROOT / "build" / "js" / "node_modules"))


@dataclass(frozen=True)
class Files:
    """Explainable copies of the shipped model, with and without defaults, and a photo of its input's size."""

    folder: Path
    model: Path
    required: Path
    image: Path


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("programs")
    instrument(MODEL, folder / "model.onnx")
    instrument(MODEL, folder / "required.onnx", required_inputs=True)
    photo = Image.open(MODEL.parent / "images" / "4-on-grass.png").convert("RGB").resize((64, 64))
    photo.save(folder / "photo.ppm")
    return Files(folder, folder / "model.onnx", folder / "required.onnx", folder / "photo.ppm")


def execute(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def python() -> Run:
    absent = (*BEYOND_CPU, "onnxplain", "cv2", "scipy", "click", "rich")
    return lambda *arguments: run_without(absent, str(PROGRAMS / "grad_cam.py"), *map(str, arguments))


@pytest.fixture(scope="module")
def node(files: Files) -> Run:
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    if not (NODE_MODULES / "onnxruntime-web").is_dir():
        pytest.skip(f"no onnxruntime-web in {NODE_MODULES}: run make test-programs, or set ONNXRUNTIME_WEB")
    # Modules are looked up beside the program.
    shutil.copy(PROGRAMS / "grad_cam.mjs", files.folder)
    (files.folder / "node_modules").symlink_to(NODE_MODULES.resolve(), target_is_directory=True)
    return lambda *arguments: execute("node", files.folder / "grad_cam.mjs", *arguments)


@pytest.fixture(scope="module")
def c(files: Files) -> Run:
    if "ONNXRUNTIME_INCLUDE" not in os.environ:
        pytest.skip("ONNXRUNTIME_INCLUDE is not set: no Python package ships onnxruntime_c_api.h")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    library = _library(files.folder / "lib")
    program = files.folder / "grad_cam"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-isystem", os.environ["ONNXRUNTIME_INCLUDE"], f"-L{library}"]
    built = execute(
        compiler, PROGRAMS / "grad_cam.c", *flags, "-lonnxruntime", "-lm", f"-Wl,-rpath,{library}", "-o", program
    )
    assert built.returncode == 0, built.stderr
    return lambda *arguments: execute(program, *arguments)


def _library(folder: Path) -> Path:
    """The folder of libonnxruntime.so: ONNXRUNTIME_LIB, else links to the library of the Python package."""
    if "ONNXRUNTIME_LIB" in os.environ:
        return Path(os.environ["ONNXRUNTIME_LIB"])
    found = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
    if found is None:
        pytest.skip("no libonnxruntime.so in the Python package: set ONNXRUNTIME_LIB")
    folder.mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(found)
    return folder


def numbers(result: subprocess.CompletedProcess[str]) -> tuple[str, float, np.ndarray]:
    """What a program printed: target and label, the logit, and the heatmap."""
    assert (result.returncode, result.stderr) == (0, "")
    first, second, *rows = result.stdout.splitlines()
    match = re.fullmatch(r"(target \d+ label \S+) logit (-?\d+\.\d+)", first)
    assert match is not None
    heat = np.array([[float(value) for value in row.split()] for row in rows])
    assert second == f"heat {heat.shape[0]} {heat.shape[1]}"
    return match[1], float(match[2]), heat


@pytest.mark.parametrize("target", [(), (-1,), (3,)], ids=["default", "predicted", "stated"])
def test_python_prints_what_onnxplain_says(target: tuple[int, ...], files: Files, python: Run) -> None:
    said, logit, heat = numbers(python(files.model, files.image, *target))
    engine = Engine(files.model)
    pixels = np.asarray(Image.open(files.image))
    explanation = GradCAM(engine)(pixels, None if target in ((), (-1,)) else target[0])
    assert said == f"target {explanation.target} label {explanation.target}"
    (logits,) = onnxruntime.InferenceSession(files.required).run(
        ["logits"], {"image": engine.preprocess(pixels), "target": np.array([-1]), "explain": np.array([False])}
    )
    assert logit == pytest.approx(logits[0, explanation.target], abs=TOLERANCE)
    np.testing.assert_allclose(heat, explanation.raw.clip(min=0) / explanation.raw.max(), atol=TOLERANCE)


@pytest.mark.parametrize("language", ["node", "c"])
@pytest.mark.parametrize("target", [-1, 3])
def test_every_language_prints_the_same_numbers(
    language: str, target: int, files: Files, python: Run, request: pytest.FixtureRequest
) -> None:
    run: Run = request.getfixturevalue(language)
    said, logit, heat = numbers(run(files.required, files.image, target))
    expected_said, expected_logit, expected_heat = numbers(python(files.required, files.image, target))
    assert said == expected_said
    assert logit == pytest.approx(expected_logit, rel=TOLERANCE, abs=TOLERANCE)
    np.testing.assert_allclose(heat, expected_heat, atol=TOLERANCE)


@pytest.mark.parametrize("language", ["python", "node", "c"])
def test_what_a_program_cannot_use_is_one_line(language: str, files: Files, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(language)
    for arguments, says in [
        ((files.required, files.image, 10), "target"),
        ((MODEL, files.image), "version"),
        *([((files.model, files.image), "--required-inputs")] if language == "node" else []),
    ]:
        result = run(*arguments)
        assert result.returncode != 0
        assert says in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr


def test_plain_onnx_runtime_warns_about_both_defaults(files: Files) -> None:
    """The page says so: one line for each of the two inputs."""
    code = "import sys, onnxruntime; onnxruntime.InferenceSession(sys.argv[1])"
    (files.folder / "load.py").write_text(code)
    for model, warnings in ((files.model, 2), (files.required, 0)):
        result = run_without((), str(files.folder / "load.py"), str(model))
        assert result.returncode == 0
        assert len(result.stderr.splitlines()) == warnings, result.stderr


@pytest.mark.parametrize("name", FENCES)
def test_the_page_shows_the_programs_that_run(name: str) -> None:
    found = re.search(rf"## `{re.escape(name)}`\n.*?```{FENCES[name]}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    assert found[1] == (PROGRAMS / name).read_text(encoding="utf-8"), f"paste examples/programs/{name} into the page"


def test_every_program_is_on_the_page() -> None:
    assert {path.name for path in PROGRAMS.iterdir()} == FENCES.keys()
