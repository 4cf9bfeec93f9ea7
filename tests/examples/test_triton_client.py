"""The client of Triton, against a server that speaks its protocol and loads what `serve-config` wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from onnxplain.contract import PreprocessingParts
from onnxplain.explanations.explain import explain
from onnxplain.exporters import instrument
from onnxplain.exporters.triton import write_triton_repository
from onnxplain.runtime import Engine
from tests.cli.test_serve_config import NUMPY, TYPES, read_config
from tests.exporters.onnx_models import plain_model, save

CLIENT = Path(__file__).parents[2] / "examples" / "triton_client.py"
KINDS = {"FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_}


class Triton(BaseHTTPRequestHandler):
    """Two of Triton's requests: a model's configuration, and inference. It checks inputs as Triton does."""

    repository: Path

    def do_GET(self) -> None:
        name = self.path.split("/")[3]
        config = read_config(self.repository / name)
        parameters = {entry.key: {"string_value": entry.value.string_value} for entry in config.parameters}
        self.reply({"name": name, "parameters": parameters})

    def do_POST(self) -> None:
        name = self.path.split("/")[3]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        config = read_config(self.repository / name)
        declared = {value.name: value for value in config.input}
        feed = {}
        for value in asked["inputs"]:
            stated = declared[value["name"]]
            dims = value["shape"][1:] if config.max_batch_size else value["shape"]
            assert KINDS[value["datatype"]] is NUMPY[TYPES[stated.data_type]]
            assert all(size in (-1, found) for size, found in zip(stated.dims, dims, strict=True))
            feed[value["name"]] = np.reshape(value["data"], value["shape"]).astype(KINDS[value["datatype"]])
        assert feed.keys() >= {name for name, value in declared.items() if not value.optional}
        session = onnxruntime.InferenceSession(self.repository / name / "1" / "model.onnx")
        names = [each["name"] for each in asked.get("outputs", ())] or [value.name for value in config.output]
        outputs = [
            {"name": each, "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
            for each, array in zip(names, session.run(names, feed), strict=True)
        ]
        self.reply({"model_name": name, "outputs": outputs})

    def reply(self, tree: object) -> None:
        body = json.dumps(tree).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    save(plain_model(), tmp_path / "plain.onnx")
    instrument(tmp_path / "plain.onnx", tmp_path / "net.onnx", preprocessing=PreprocessingParts(resize="stretch"))
    write_triton_repository(tmp_path / "net.onnx", tmp_path / "repository")
    handler = type("Handler", (Triton,), {"repository": tmp_path / "repository"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()
        thread.join()


@pytest.mark.parametrize("target", [None, 3])
def test_the_clients_grad_cam_is_that_of_the_library(server: str, tmp_path: Path, target: int | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    words = [sys.executable, CLIENT, server, "net", tmp_path / "photo.png", "-o", tmp_path / "heat.png"]
    words += [] if target is None else ["--target", target]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = explain(Engine(tmp_path / "net.onnx", ["cpu"]), pixels, "grad-cam", target=target)
    assert found["target"] == expected.target
    heat = np.maximum(expected.raw, 0)
    np.testing.assert_allclose(found["heatmap"], heat / max(heat.max(), 1e-30), atol=1e-3)
    with Image.open(tmp_path / "heat.png") as picture:
        assert picture.size == (6, 8)
