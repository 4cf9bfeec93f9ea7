"""Methods and formats of other packages: found by their entry points, in processes where such a package is installed.

Installed means what pip leaves behind: a module and a dist-info folder on ``sys.path``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from onnxplain.demo import IMAGES, MODEL
from onnxplain.explainers import METHODS
from onnxplain.runtime import Engine
from tests.data.written import COCO, VOC_A, write

MODULE = '''
from dataclasses import dataclass
from pathlib import Path

from onnxplain.data import Format
from onnxplain.explainers import ActivationMapExplainer


@dataclass(frozen=True)
class MeanActivation(ActivationMapExplainer):
    """Mean of the feature maps.

    Nothing more.
    """

    power: float = 1.0

    name = "mean-activation"
    uses_gradients = False

    def weigh(self, activations):
        return (activations.features**self.power).mean(1)


class Undocumented(MeanActivation):
    name = "undocumented"


class Nameless(ActivationMapExplainer):
    def weigh(self, activations):
        return activations.features.mean(1)


class Hookless(ActivationMapExplainer):
    name = "hookless"


class Taken(MeanActivation):
    name = "rise"


def read_mine(source):
    from onnxplain.data.formats.annotations import AnnotatedImage, AnnotatedObject, Reading
    from onnxplain.data.problem import Place

    path = source if source.is_file() else source / "list.mine"
    images = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        name, label, *box = line.split()
        place = Place(path, number)
        thing = AnnotatedObject(label, tuple(map(float, box)), place)
        images.append(AnnotatedImage(name, path.parent, place, (thing,)))
    return Reading(tuple(images), None, ())


def stumble(source):
    raise ZeroDivisionError("oh")


MINE = Format("mine: a file list.mine", lambda source: (source / "list.mine").is_file(), read_mine)
STUMBLING = Format("stumbling: never mind", stumble, read_mine)
NOT_A_FORMAT = 3
'''


@pytest.fixture
def install(tmp_path: Path):
    """Install a package: its name, the source of its module `NAME_module`, its entry points by group."""

    def install(name: str, source: str, groups: Mapping[str, Mapping[str, str]]) -> None:
        site = tmp_path / "site"
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{name}_module.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [
            line
            for group, entries in groups.items()
            for line in (f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")

    return install


@pytest.fixture
def python(tmp_path: Path):
    """Run Python with what is installed."""

    def python(*arguments: object) -> subprocess.CompletedProcess[str]:
        paths = [str(tmp_path / "site"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)

    return python


@pytest.fixture
def onnxplain(python):
    """Run the command line with what is installed."""
    return lambda *words: python("-m", "onnxplain.cli.main", *words)


GOOD = {
    "onnxplain.methods": {
        "mean-activation": "foo_module:MeanActivation",
        "undocumented": "foo_module:Undocumented",
    },
    "onnxplain.formats": {"mine": "foo_module:MINE"},
}


def test_a_method_of_another_package_is_listed_and_explains(install, python, onnxplain, tmp_path: Path) -> None:
    install("foo", MODULE, GOOD)
    listed = onnxplain("methods", "--json")
    assert (listed.returncode, listed.stderr) == (0, "")
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert list(rows) == [*METHODS, "mean-activation", "undocumented"]
    assert rows["mean-activation"] == {
        "name": "mean-activation",
        "needs": "an instrumented layer of a model with heads",
        "summary": "Mean of the feature maps.",
        "use": "",
        "options": ["layer", "power", "test_time"],
    }
    assert rows["undocumented"]["summary"] == "Undocumented"

    image = sorted(IMAGES.glob("*.png"))[0]
    out = tmp_path / "out"
    explained = onnxplain("explain", MODEL, image, "-m", "mean-activation", "-m", "grad-cam", "-o", out)
    assert (explained.returncode, explained.stderr) == (0, "")
    assert "mean-activation" in explained.stdout
    inspected = onnxplain("inspect", MODEL)
    assert "aise, mean-activation, undocumented" in inspected.stdout

    code = (
        "import numpy\nfrom onnxplain import explain\n"
        f"raw = explain({str(MODEL)!r}, {str(image)!r}, 'mean-activation', power=2).raw\nprint(raw.tolist())"
    )
    features = Engine(MODEL).activations(image, gradients=False).features[0]
    np.testing.assert_allclose(json.loads(python("-c", code).stdout), (features**2).mean(0), rtol=1e-4)


def test_a_format_of_another_package_is_recognised_and_read(install, python, tmp_path: Path) -> None:
    install("foo", MODULE, GOOD)
    folder = write(tmp_path / "set", {"list.mine": "a.png cat 4 8 20 24\nb.png dog 2 3 10 27\n", "x.json": '{"a": []}'})
    for format in (None, "mine"):
        code = (
            "from onnxplain.data import FORMATS, open_dataset\n"
            f"dataset = open_dataset({str(folder)!r}, format={format!r}, strict=True)\n"
            "print(dataset.labels, [record.boxes_xyxy.tolist() for record in dataset.records], list(FORMATS)[-1])"
        )
        found = python("-c", code)
        assert found.stdout == "('cat', 'dog') [[[4.0, 8.0, 20.0, 24.0]], [[2.0, 3.0, 10.0, 27.0]]] mine\n", (
            found.stderr
        )
    for name, files in (("coco", {"instances.json": COCO}), ("voc", {"a.xml": VOC_A})):
        known = write(tmp_path / name, files)
        code = (
            "from pathlib import Path\nfrom onnxplain.data.open import recognise_format\n"
            f"print(recognise_format(Path({str(known)!r})))"
        )
        assert python("-c", code).stdout.strip() == name


BROKEN = {
    "absent": ("nowhere_at_all:Mine", "ModuleNotFoundError (No module named 'nowhere_at_all')"),
    "classless": ("foo_module:Nothing", "AttributeError (module 'foo_module' has no attribute 'Nothing')"),
    "number": ("foo_module:NOT_A_FORMAT", "found 3, expected a subclass of onnxplain.explainers.Explainer"),
    "module": ("foo_module", "found 'foo_module', expected module:name"),
    "nameless": ("foo_module:Nameless", "Nameless: found no name"),
    "hookless": ("foo_module:Hookless", "Hookless: found no method weigh(activations)"),
    "other": ("foo_module:MeanActivation", "found a class whose name is 'mean-activation', expected 'other'"),
    "rise": ("foo_module:Taken", "found a name that is already taken"),
}


def test_broken_methods_are_a_line_each_and_hinder_no_other(install, python, onnxplain, tmp_path: Path) -> None:
    entries = {name: value for name, (value, _) in BROKEN.items()}
    install("foo", MODULE, {"onnxplain.methods": {**entries, "mean-activation": "foo_module:MeanActivation"}})
    listed = onnxplain("methods", "--json")
    assert listed.returncode == 0
    assert [row["name"] for row in json.loads(listed.stdout)] == [*METHODS, "mean-activation"]
    lines = dict(zip(BROKEN, listed.stderr.splitlines(), strict=True))
    for name, (_, problem) in BROKEN.items():
        assert lines[name].startswith(f"onnxplain: {name}: {problem}")
        assert lines[name].endswith("(plug-in of foo, onnxplain.methods): update or uninstall foo")

    asked = onnxplain("explain", MODEL, IMAGES, "-m", "classless", "-o", tmp_path / "out")
    assert (asked.returncode, asked.stderr) == (2, f"{lines['classless']}\n")
    code = (
        "from onnxplain.explainers.registry import find_method\nfrom onnxplain.errors import OnnxplainError\n"
        f"for name in {list(BROKEN)!r}:\n"
        "    try: print(find_method(name).location)\n"
        "    except OnnxplainError as error: print(f'onnxplain: {error}')\n"
    )
    expected = {**lines, "rise": METHODS["rise"].location}
    assert python("-c", code).stdout.splitlines() == list(expected.values())


@pytest.mark.parametrize(
    "source", ["import sys\nsys.exit(3)", "raise RuntimeError('two\\nlines')", "syntax error", "1 / 0"]
)
def test_a_module_that_cannot_be_imported_is_one_line(install, onnxplain, source: str) -> None:
    install("foo", source, {"onnxplain.methods": {"mine": "foo_module:Mine"}})
    listed = onnxplain("methods")
    assert listed.returncode == 0
    assert listed.stderr.count("\n") == 1
    assert listed.stderr.startswith("onnxplain: mine: ")


def test_entry_points_that_cannot_be_read_are_one_line(install, onnxplain, tmp_path: Path) -> None:
    install("foo", MODULE, {"onnxplain.methods": {"mean-activation": "foo_module:MeanActivation"}})
    install("bar", "", {})
    (tmp_path / "site" / "bar-1.0.dist-info" / "entry_points.txt").write_text("[onnxplain.methods]\nno such line\n")
    listed = onnxplain("methods")
    assert "mean-activation" in listed.stdout
    assert listed.stderr.startswith("onnxplain: bar: found an unreadable entry_points.txt")


def test_of_two_plugins_of_one_name_the_first_counts(install, onnxplain) -> None:
    for name in ("foo", "zoo"):
        install(name, MODULE, {"onnxplain.methods": {"mean-activation": f"{name}_module:MeanActivation"}})
    listed = onnxplain("methods", "--json")
    assert len(json.loads(listed.stdout)) == len(METHODS) + 1
    assert "found a name that is already taken" in listed.stderr


def test_methods_of_the_package_are_found_without_a_look_at_others(install, python) -> None:
    install("foo", "raise SystemExit('imported')", {"onnxplain.methods": {"mine": "foo_module:Mine"}})
    code = (
        "import sys\nfrom onnxplain.explainers import METHODS, build\nfrom onnxplain.runtime import Engine\n"
        f"engine = Engine({str(MODEL)!r})\nbuild('grad-cam', engine), METHODS['rise'].options, 'cam' in METHODS\n"
        "assert 'foo_module' not in sys.modules and 'importlib.metadata' not in sys.modules"
    )
    assert python("-c", code).returncode == 0


def test_a_broken_format_is_one_line_and_hinders_no_other(install, python, tmp_path: Path) -> None:
    formats = {"mine": "foo_module:MINE", "number": "foo_module:NOT_A_FORMAT", "stumbling": "foo_module:STUMBLING"}
    install("foo", MODULE, {"onnxplain.formats": {**formats, "voc": "foo_module:MINE"}})
    good, unknown = write(tmp_path / "good", {"a.xml": VOC_A}), write(tmp_path / "unknown", {"notes.txt": "hello"})
    code = (
        "from onnxplain.data import FORMATS, open_dataset\nfrom onnxplain.errors import OnnxplainError\n"
        f"print(len(open_dataset({str(good)!r}).records), list(FORMATS)[-2:], 'number' in FORMATS)\n"
        f"for source, format in ({str(unknown)!r}, None), ({str(good)!r}, 'number'):\n"
        "    try: open_dataset(source, format=format)\n"
        "    except OnnxplainError as error: print(error)\n"
    )
    first, nobody, named = python("-c", code).stdout.splitlines()
    assert first == "2 ['mine', 'stumbling'] False"
    assert "mine: a file list.mine" in nobody
    assert "Not asked: stumbling: recognises raised ZeroDivisionError (oh)" in nobody
    assert "Not asked: number: found 3, expected an onnxplain.data.Format (plug-in of foo" in nobody
    assert "Not asked: voc: found a name that is already taken" in nobody
    assert named == (
        "number: found 3, expected an onnxplain.data.Format (plug-in of foo, onnxplain.formats): "
        "update or uninstall foo"
    )
