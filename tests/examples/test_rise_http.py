"""The HTTP example against an endpoint of its own, where nothing beyond the `cpu` extra can be imported."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from onnxplain.explainers import RISE
from tests.cli.process import BEYOND_CPU, run_without

EXAMPLE = ("-m", "onnxplain.examples.rise_http")
SIZE_HW = (16, 24)


def halves(batch_nchw: np.ndarray) -> np.ndarray:
    """Two classes: how bright the left half is, and the right."""
    return np.stack([batch_nchw[..., :12].mean((1, 2, 3)), batch_nchw[..., 12:].mean((1, 2, 3))], axis=1) / 255


class Endpoint(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        batch = np.load(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
        assert (batch.dtype, batch.shape[1:]) == (np.float32, (3, *SIZE_HW))
        body = io.BytesIO()
        np.save(body, halves(batch))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.getvalue())

    def log_message(self, *arguments: object) -> None:
        """Say nothing on standard error."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/scores"
        server.shutdown()


@pytest.fixture
def photo(tmp_path) -> np.ndarray:
    """RGB, bright on the right."""
    image = np.full((32, 48, 3), 40, np.uint8)
    image[:, 24:] = (250, 200, 210)
    cv2.imwrite(str(tmp_path / "photo.png"), image[..., ::-1])
    return image


def test_an_endpoint_is_explained_as_the_function_behind_it(url, photo, tmp_path) -> None:
    result = run_without(
        BEYOND_CPU, *EXAMPLE, url, "photo.png", "16x24", "--masks", "200", "-o", "map.png", folder=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"class 1, score 0\.86, 201 evaluations\n", result.stdout)
    expected = RISE(halves, SIZE_HW, masks=200)(photo)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "map.png"))[..., ::-1], expected.overlay(photo))


def test_an_endpoint_that_is_not_there_is_named(photo, tmp_path) -> None:
    result = run_without(BEYOND_CPU, *EXAMPLE, "http://127.0.0.1:9/scores", "photo.png", "16x24", folder=tmp_path)
    assert result.returncode != 0
    assert result.stderr.startswith("score function: raised URLError")
    assert "Traceback" not in result.stderr
