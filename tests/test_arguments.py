"""Wrong types and values of every public call raise OnnxplainError, with what was found and what is expected."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import itertools
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxplain
from onnxplain.contract import Preprocessing, PreprocessingParts
from onnxplain.data import DataSet, Record, load_images, mosaics, open_dataset, split, split_by_lists, write_lists
from onnxplain.errors import OnnxplainError
from onnxplain.evaluation import evaluate
from onnxplain.explainers import METHODS, RISE, build, find_regions, localize, supported
from onnxplain.exporters import export, instrument, measure_cost, survey
from onnxplain.runtime import Engine, as_image, bilinear_matrix, load_image, make_frame
from tests.cli.conftest import write_convolutional, write_photo
from tests.explainers.test_contract_of_methods import OPTIONS
from tests.exporters.torch_models import tiny_net

HUGE = 10**400
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 1.5, -0.5, float("nan"), float("inf"), HUGE, 2**63, 1j, np.nan),
    *("", "\0", "abc", "5", b"abc", [], [None], (1,), ["a"], {}, {"a": 1}, {1, 2}, object(), int),
    *(np.array([]), np.array([[1.5]]), np.zeros((2, 2))),
)


@dataclass(frozen=True)
class World:
    """What calls need."""

    plain: Path
    engine: Engine
    photo: Path
    folder: Path
    dataset: DataSet
    boxes: DataSet


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    plain = write_convolutional(folder / "plain.onnx")
    instrument(plain, folder / "model.onnx", labels=list("vwxyz"), layers=["input", "auto"])
    for name in ("v", "w"):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(3):
            write_photo(folder / "data" / name / f"{number}.png", seed=number)
    (folder / "some.txt").write_text("v/0\nw/1\n", encoding="utf-8")
    engine = Engine(folder / "model.onnx", ["cpu"])
    boxes = open_dataset("digits", count=12)
    return World(plain, engine, write_photo(folder / "photo.png"), folder, open_dataset(folder / "data"), boxes)


Call = Callable[..., Any]
# A call that works, as a function of the world: the callable and its arguments, of which each is replaced in turn.
CALLS: Mapping[str, Callable[[World], tuple[Call, dict[str, Any]]]] = {
    "Engine": lambda world: (
        Engine,
        {
            "model": world.folder / "model.onnx",
            "providers": ["cpu"],
            "threads": 1,
            "precision": "float32",
            "preprocessing": None,
            "input_size_hw": None,
            "layout": None,
            "labels": None,
            "sidecars": True,
            "timeout": 30,
        },
    ),
    "explain": lambda world: (
        onnxplain.explain,
        {"model_or_engine": world.engine, "image": world.photo, "method": "grad-cam", "target": None, "layer": None},
    ),
    "explain with rise": lambda world: (
        onnxplain.explain,
        {"model_or_engine": world.engine, "image": world.photo, "method": "rise", "masks": 4},
    ),
    "load_image": lambda world: (load_image, {"path": world.photo, "max_megapixels": 10}),
    "as_image": lambda world: (as_image, {"image": world.photo, "max_megapixels": 10}),
    "make_frame": lambda world: (
        make_frame,
        {"image_size_hw": (30, 40), "input_size_hw": (12, 16), "resize": "crop", "crop_share": 0.8},
    ),
    "predict": lambda world: (world.engine.predict, {"images": world.photo}),
    "activations": lambda world: (
        world.engine.activations,
        {"images": world.photo, "target": None, "layer": None, "gradients": True},
    ),
    "scores": lambda world: (world.engine.scores, {"batch_nchw": world.engine.preprocess(world.photo)}),
    "localize": lambda world: (localize, {"engine": world.engine, "images": world.photo, "method": "cam"}),
    "build": lambda world: (build, {"name": "grad-cam", "engine": world.engine}),
    "find_regions": lambda world: (find_regions, {"heatmap_hw": np.eye(4, dtype=np.float32), "threshold": 0.5}),
    "instrument": lambda world: (
        instrument,
        {
            "source": world.plain,
            "destination": world.folder / "out.onnx",
            "layers": ["map"],
            "logits": "logits",
            "box": None,
            "box_format": "cxcywh",
            "box_units": "normalized",
            "labels": list("vwxyz"),
            "preprocessing": None,
            "input_size_hw": None,
            "layout": None,
            "required_inputs": False,
            "gate": True,
            "batch": "auto",
            "tail": True,
            "shuffle_weights": None,
            "sidecars": True,
        },
    ),
    "survey": lambda world: (survey, {"source": world.plain}),
    "measure_cost": lambda world: (
        measure_cost,
        {"original": world.plain, "explainable": world.folder / "model.onnx", "spec": world.engine.spec},
    ),
    "export": lambda world: (
        export,
        {
            "module": tiny_net(),
            "path": world.folder / "exported.onnx",
            "input_size_hw": (16, 16),
            "layers": ["auto"],
            "heads": (),
            "labels": (),
            "preprocessing": None,
        },
    ),
    "load_images": lambda world: (
        lambda **given: list(load_images(**given)),
        {"records": world.dataset.records[:2], "problems": [], "strict": False},
    ),
    "write_lists": lambda world: (
        write_lists,
        {"whole": world.dataset, "sides": {"a": world.dataset.records}, "folder": world.folder / "lists"},
    ),
    "split_by_lists": lambda world: (
        split_by_lists,
        {"dataset": world.dataset, "lists": [world.folder / "some.txt"], "strict": False},
    ),
    "supported": lambda world: (supported, {"engine": world.engine}),
    "bilinear_matrix": lambda world: (bilinear_matrix, {"out_size": 4, "in_size": 9, "scale": 2.0, "offset": 0.0}),
    "boxes": lambda world: (onnxplain.explain(world.engine, world.photo).boxes, {"threshold": 0.5}),
    "Preprocessing": lambda world: (Preprocessing, vars(Preprocessing())),
    "PreprocessingParts": lambda world: (PreprocessingParts, vars(PreprocessingParts())),
    "DataSet": lambda world: (DataSet, vars(world.dataset)),
    "Record": lambda world: (Record, vars(world.dataset.records[0])),
    "open_dataset": lambda world: (
        open_dataset,
        {
            "source": world.folder / "data",
            "images": None,
            "format": "image-folder",
            "split": None,
            "labels": None,
            "voc_origin": 1,
            "seed": 0,
            "count": None,
            "strict": False,
        },
    ),
    "split": lambda world: (split, {"dataset": world.dataset, "shares": (0.5, 0.5), "seed": 0}),
    "mosaics": lambda world: (mosaics, {"dataset": world.boxes, "count": 2, "seed": 0, "size_hw": (8, 8)}),
    "evaluate": lambda world: (
        evaluate,
        {
            "engine": world.engine,
            "dataset": world.dataset,
            "methods": ("grad-cam",),
            "metrics": "faithfulness",
            "options": None,
            "target": "predicted",
            "train": None,
            "sanity": None,
            "heatmaps": None,
        },
    ),
}


def wrong(call: Call, arguments: Mapping[str, Any]) -> list[str]:
    """The calls that raise anything but OnnxplainError, each argument replaced by every odd value."""
    found = []
    for name in arguments:
        for value in ODD:
            try:
                result = call(**{**arguments, name: value})
                # Some results are made when they are asked for.
                list(result) if isinstance(result, map | filter) else None
            except OnnxplainError as error:
                if len(str(error).splitlines()) > 1 or len(str(error)) > 2000:
                    found.append(f"{name}={value!r:.40}: {str(error)[:200]!r}")
            except Exception as error:
                found.append(f"{name}={value!r:.40}: {type(error).__name__}: {str(error)[:100]}")
    return found


@pytest.mark.parametrize("name", CALLS)
def test_odd_arguments(name: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some odd values are names of files to write.
    monkeypatch.chdir(tmp_path)
    call, arguments = CALLS[name](world)
    with contextlib.redirect_stderr(io.StringIO()):
        call(**arguments)
        assert wrong(call, arguments) == []


@pytest.mark.parametrize("name", METHODS)
def test_odd_options_of_methods(name: str, world: World) -> None:
    parameters = inspect.signature(METHODS[name].explainer).parameters
    options = {option: parameters[option].default for option in METHODS[name].explainer.option_names()}
    options |= {"test_time": None}
    options |= {option: value for option, value in OPTIONS.get(name, {}).items() if option in options}
    assert wrong(lambda **given: build(name, world.engine, **given), options) == []


def test_what_was_taken_in_silence(world: World) -> None:
    with pytest.raises(OnnxplainError, match=r"seed: found 1\.5, expected"):
        RISE(world.engine, masks=4, seed=1.5)
    with pytest.raises(OnnxplainError, match="labels: found 'abcde', expected"):
        Engine(world.folder / "model.onnx", labels="abcde")
    counts = itertools.chain([5], itertools.repeat(4))
    with pytest.raises(OnnxplainError, match="returned 4 classes, expected 5 as before"):
        RISE(lambda batch: np.ones((len(batch), next(counts))) / 5, input_size_hw=(8, 8), masks=8)(world.photo)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))])
def test_an_engine_can_be_copied_and_pickled(world: World, again: Callable[[Engine], Engine]) -> None:
    engine = Engine(world.folder / "model.onnx", ["cpu"], 1, labels=list("abcde"), timeout=7)
    found = again(engine)
    assert found is not engine
    assert (found.path, found.spec, found.timeout) == (engine.path, engine.spec, 7)
    assert found.predict(world.photo)[0].label == engine.predict(world.photo)[0].label


@pytest.mark.parametrize(
    "encoded", [bytes, bytearray, memoryview, io.BytesIO], ids=["bytes", "bytearray", "memoryview", "file"]
)
def test_bytes_and_open_files_are_images(world: World, encoded: Callable[[bytes], Any]) -> None:
    content = encoded(world.photo.read_bytes())
    assert (as_image(content) == load_image(world.photo)).all()
    expected = onnxplain.explain(world.engine, world.photo).heatmap
    assert (onnxplain.explain(world.engine, content).heatmap == expected).all()
    assert len(world.engine.predict([content, content])) == 2
    with world.photo.open("rb") as file:
        assert (as_image(file) == load_image(world.photo)).all()


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", io.BytesIO(b"no image"), io.StringIO("text")],
    ids=["empty", "bytes", "file", "text file"],
)
def test_bytes_that_are_no_image(world: World, content: Any) -> None:
    with pytest.raises(OnnxplainError, match=r"found .* that holds no image"):
        world.engine.predict(content)
