"""`doctor`: what it says about this machine, and the cache that it empties."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version

import pytest

from onnxplain import __version__
from onnxplain.extras import EXTRAS, install_command
from onnxplain.machine.installed import Processor, read_processor_name
from onnxplain.machine.processor import ProcessorTraits
from tests.cli.process import run_without


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXPLAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_versions_providers_and_cache(run, models, images, cache, tmp_path):
    run("explain", models / "conv.onnx", images / "a.png", "-o", tmp_path / "out")
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    for said in (__version__, version("onnx"), version("numpy"), "CPUExecutionProvider", str(cache), "1 copy, "):
        assert said in result.stdout
    tree = json.loads(run("doctor", "--json").stdout)
    assert tree["versions"]["onnxplain"] == __version__
    assert tree["versions"]["onnx"] == version("onnx")
    assert tree["processor"]["cores"] >= 1
    assert tree["cache"]["folder"] == str(cache)
    assert [entry["source"] for entry in tree["cache"]["entries"]] == ["conv.onnx"]
    assert tree["cache"]["bytes"] == sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())


def test_empty_cache(run, models, images, cache, tmp_path):
    run("explain", models / "conv.onnx", images / "a.png", "-o", tmp_path / "out")
    (cache / "notes.txt").write_text("mine")
    assert "removed" in run("doctor", "--empty-cache").stdout
    assert [path.name for path in cache.iterdir()] == ["notes.txt"]
    tree = json.loads(run("doctor", "--empty-cache", "--json").stdout)
    assert (tree["cache"]["entries"], tree["cache"]["removed"]) == ([], 0)


def test_missing_extras_are_listed_with_their_command():
    missing = [module for modules in EXTRAS.values() for module in modules]
    result = run_without(missing, "-m", "onnxplain", "doctor")
    assert result.returncode == 0, result.stderr
    assert "none: ONNX Runtime is not installed" in result.stdout
    for extra, modules in EXTRAS.items():
        assert f"missing ({', '.join(modules)}): {install_command(extra)}" in result.stdout


def test_a_wrong_limit_is_one_line(run, monkeypatch):
    monkeypatch.setenv("ONNXPLAIN_CACHE_GB", "much")
    result = run("doctor")
    assert result.exit_code == 2
    assert result.stderr.startswith("onnxplain: ONNXPLAIN_CACHE_GB: found 'much', expected a size in GB")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some CPU\n\nprocessor: 1\nmodel name: Other\n", "Some CPU"),
        ("processor: 0\nFeatures: fp asimd\n", platform.processor()),
    ],
)
def test_the_name_of_the_processor(text, name, tmp_path):
    (tmp_path / "cpuinfo").write_text(text)
    assert read_processor_name(tmp_path / "cpuinfo") == name
    assert read_processor_name(tmp_path / "missing") == platform.processor()


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        (
            ProcessorTraits("x86_64", True, 4, avx2=True, avx512=False, vnni=False),
            "A, x86_64, 4 cores, AVX2, no AVX-512, no VNNI, 8-bit kernels saturate",
        ),
        (ProcessorTraits("aarch64", False, 1), "A, aarch64, 1 cores, 8-bit kernels are exact"),
        (None, "A"),
    ],
)
def test_the_traits_of_the_processor(traits, said):
    assert Processor("A", traits).describe() == said
