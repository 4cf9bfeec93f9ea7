"""The example service, called as an ASGI server calls it."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxplain.errors import OnnxplainError
from onnxplain.examples import serve
from onnxplain.examples.serve import ImageService, Limits
from onnxplain.explanations.explain import explain
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine
from tests.exporters.onnx_models import plain_model, save

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("served")
    save(plain_model(), folder / "plain.onnx")
    instrument(folder / "plain.onnx", folder / "net.onnx", labels=list("vwxyz"))
    yield Engine(folder / "net.onnx", ["cpu"])


async def ask(
    service: ImageService, path: str, body: bytes = b"", verb: str = "POST", parts: int = 1, **headers: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of one request, whose body comes in parts."""
    size = max(1, -(-len(body) // parts))
    pieces = [body[start : start + size] for start in range(0, max(len(body), 1), size)]
    messages = [
        {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
        for index, piece in enumerate(pieces)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    route, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": verb,
        "path": route,
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    await service(scope, receive, send)
    start, end = sent
    assert int(dict(start["headers"])[b"content-length"]) == len(end["body"])
    return start["status"], dict(start["headers"]), end["body"]


def answer(request: Coroutine[Any, Any, tuple[int, dict[bytes, bytes], bytes]]) -> tuple[int, Any]:
    status, headers, body = asyncio.run(request)
    return status, json.loads(body) if headers[b"content-type"] == b"application/json" else body


def test_answers_are_those_of_the_library(engine: Engine) -> None:
    service = ImageService(engine)
    status, found = answer(ask(service, "/predict?top=2", png(PIXELS), parts=3))
    (expected,) = engine.predict([PIXELS])
    assert status == 200
    assert [entry["label"] for entry in found["top"]] == [label for _, label, _ in expected.top(2)]
    assert found["top"][0]["score"] == pytest.approx(expected.score)
    status, found = answer(ask(service, "/explain?method=grad-cam&target=x", png(PIXELS)))
    explanation = explain(engine, PIXELS, "grad-cam", target="x")
    assert (status, found["target"], found["method"]) == (200, 2, "grad-cam")
    np.testing.assert_allclose(found["raw"], explanation.raw, rtol=1e-6)
    status, picture = answer(ask(service, "/explain?target=2", png(PIXELS), accept="image/png"))
    assert status == 200
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture))), explanation.overlay(PIXELS))
    status, health = answer(ask(service, "/health", verb="GET"))
    assert (status, health["model"], health["running"]) == (200, "net.onnx", 0)
    assert "rise" in health["methods"]


@pytest.mark.parametrize(
    ("path", "verb", "body", "status", "line"),
    [
        ("/", "GET", b"", 404, "found '/', expected /health, /predict or /explain"),
        ("/predict", "GET", b"", 405, "found GET, expected POST"),
        ("/health", "POST", b"", 405, "found POST, expected GET"),
        ("/predict", "POST", b"", 400, "expected"),
        ("/predict", "POST", b"no image", 400, "expected"),
        ("/predict?top=0", "POST", png(PIXELS), 400, "top: found '0'"),
        ("/explain?method=magic", "POST", png(PIXELS), 400, "method: found 'magic', expected one of cam,"),
        ("/explain?target=99", "POST", png(PIXELS), 400, "expected"),
        ("/explain?target=dog", "POST", png(PIXELS), 400, "expected"),
        ("/predict", "POST", bytes(5001), 413, "found a body of over 5,000 bytes"),
        ("/predict", "POST", png(np.zeros((300, 400, 3), np.uint8)), 400, "megapixel"),
    ],
)
def test_what_is_refused(engine: Engine, path: str, verb: str, body: bytes, status: int, line: str) -> None:
    service = ImageService(engine, Limits(body_bytes=5000, megapixels=0.1))
    found, tree = answer(ask(service, path, body, verb))
    assert found == status, tree
    assert list(tree) == ["error"]
    assert line in tree["error"] and "\n" not in tree["error"]
    assert service._running == 0


def test_a_body_that_says_its_size_is_not_read(engine: Engine) -> None:
    service = ImageService(engine, Limits(body_bytes=5000))
    status, tree = answer(ask(service, "/predict", b"x", content_length="5001"))
    assert (status, "5,000 bytes" in tree["error"]) == (413, True)


def test_late_work_keeps_its_place(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too much time is 504. Until the thread ends, its place is taken: the next request gets 503."""
    service = ImageService(engine, Limits(seconds=0.2, requests=1))
    go_on = threading.Event()
    predict = service._predict

    def slow(*arguments: Any) -> serve.Reply:
        go_on.wait(30)
        return predict(*arguments)

    monkeypatch.setattr(service, "_predict", slow)

    async def requests() -> list[int]:
        late, _, _ = await ask(service, "/predict", png(PIXELS))
        refused, headers, _ = await ask(service, "/predict", png(PIXELS))
        assert headers[b"retry-after"] == b"1"
        go_on.set()
        while service._running:
            await asyncio.sleep(0.01)
        service.limits = Limits(seconds=30, requests=1)
        again, _, _ = await ask(service, "/predict", png(PIXELS))
        return [late, refused, again]

    assert asyncio.run(requests()) == [504, 503, 200]


def test_an_unexpected_failure_is_one_line(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    service = ImageService(engine)
    monkeypatch.setattr(service, "_predict", lambda *_: 1 / 0)
    assert answer(ask(service, "/predict", png(PIXELS))) == (500, {"error": "internal error (ZeroDivisionError)"})
    assert service._running == 0


def test_start_and_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    messages, sent = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    monkeypatch.setenv(serve.MODEL_VARIABLE, str(engine.path))
    asyncio.run(serve.app_of_environment()({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    monkeypatch.delenv(serve.MODEL_VARIABLE)
    with pytest.raises(OnnxplainError, match="ONNXPLAIN_MODEL: found nothing"):
        serve.app_of_environment()


def test_the_module_says_how_it_is_started() -> None:
    assert f"{Path(serve.__file__).stem}:app_of_environment" in (serve.__doc__ or "")
