"""A small HTTP service as an ASGI application: an image in, JSON or a picture out. An example, not a product.

    ONNXPLAIN_MODEL=explainable.onnx uvicorn --factory onnxplain.examples.serve:app_of_environment

    curl --data-binary @photo.jpg 'localhost:8000/predict?top=3'
    curl --data-binary @photo.jpg 'localhost:8000/explain?method=grad-cam&target=cat'
    curl --data-binary @photo.jpg -H 'Accept: image/png' localhost:8000/explain -o overlay.png

Any ASGI server runs it. There is no authentication, no encryption and no queue: put it behind a proxy that has them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from onnxplain.errors import OnnxplainError, TimeLimitError
from onnxplain.explainers import METHODS, supported
from onnxplain.explanations.explain import explain
from onnxplain.explanations.json_number import json_number
from onnxplain.explanations.result_line import describe_explanation
from onnxplain.runtime import Engine

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MODEL_VARIABLE = "ONNXPLAIN_MODEL"
_FAST_METHOD = "grad-cam"
_LOGGER = logging.getLogger("onnxplain.serve")


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and how many are computed at once.

    `body_bytes`: the size of the image file. `megapixels`: of the decoded image. `seconds`: until an answer; the
    computation ends after the run of the model that it is in. `requests`: at once; one more gets status 503.
    """

    body_bytes: int = 10_000_000
    megapixels: float = 20.0
    seconds: float = 10.0
    requests: int = 4


class RefusedError(Exception):
    """A request that gets no result: HTTP status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


@dataclass(frozen=True)
class Reply:
    """The body of an answer and its type."""

    body: bytes
    kind: str = "application/json"


@dataclass
class ImageService:
    """The ASGI application for an engine: GET /health, POST /predict, POST /explain; the body is an image file.

    /predict takes ``top``. /explain takes ``method`` and ``target``, and gives a PNG if the request accepts image/png.
    A request without a result gets ``{"error": "one line"}``: status 400 for what it asks or sends, 404 and 405 for
    other paths and verbs, 408 for a body that does not come, 413 for one that is too large, 503 for too many requests
    at once, 504 for too much time.
    """

    engine: Engine
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.limits.requests, thread_name_prefix="onnxplain-serve")
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reply one request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                status, answer = 200, await self._answer(scope, receive)
            except RefusedError as refusal:
                status, answer = refusal.status, _json({"error": refusal.line})
            await _send(send, status, answer)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._pool.shutdown(cancel_futures=True)
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        path, verb = scope["path"], scope["method"]
        work = {"/predict": self._predict, "/explain": self._explain}.get(path)
        if work is None and path != "/health":
            raise RefusedError(404, f"found {path!r:.80}, expected /health, /predict or /explain")
        if verb != ("GET" if work is None else "POST"):
            raise RefusedError(405, f"found {verb}, expected {'GET' if work is None else 'POST'}")
        if work is None:
            methods = list(supported(self.engine))
            return _json({"model": self.engine.path.name, "methods": methods, "running": self._running})
        query = {key: values[-1] for key, values in parse_qs(scope.get("query_string", b"").decode("latin-1")).items()}
        headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        if self._running >= self.limits.requests:
            raise RefusedError(503, f"found {self._running} requests at once, expected fewer: try again later")
        self._running += 1
        try:
            image = await self._read_body(headers, receive)
        except BaseException:
            self._running -= 1
            raise
        return await self._compute(lambda: work(image, query, headers.get(b"accept", "")))

    async def _read_body(self, headers: Mapping[bytes, str], receive: Receive) -> bytes:
        """The body, read no further than its limit."""
        most, stated = self.limits.body_bytes, headers.get(b"content-length", "0")
        parts, size, more = [], int(stated) if stated.isdecimal() else 0, True
        while more and size <= most:
            try:
                message = await asyncio.wait_for(receive(), self.limits.seconds)
            except TimeoutError as error:
                raise RefusedError(408, f"found no image after {self.limits.seconds:g} s, expected one") from error
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "found a connection that was closed, expected an image")
            parts.append(message.get("body", b""))
            size, more = sum(map(len, parts)), message.get("more_body", False)
        if size > most:
            raise RefusedError(413, f"found a body of over {most:,} bytes, expected a smaller image")
        return b"".join(parts)

    async def _compute(self, work: Callable[[], Reply]) -> Reply:
        """The result of work in a thread. Late work keeps its place until it ends: nothing can stop a thread."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._finish)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.seconds)
        except (TimeoutError, TimeLimitError) as error:
            raise RefusedError(504, f"found no answer after {self.limits.seconds:g} s, expected one") from error
        except OnnxplainError as error:
            raise RefusedError(400, str(error)) from error
        except Exception as error:
            _LOGGER.exception("request failed")
            raise RefusedError(500, f"internal error ({type(error).__name__})") from error

    def _finish(self, future: asyncio.Future[Reply]) -> None:
        self._running -= 1
        if not future.cancelled():
            # A late failure has nobody to tell.
            future.exception()

    def _predict(self, image: bytes, query: Mapping[str, str], _: str) -> Reply:
        top = query.get("top", "5")
        if not top.isdecimal() or not int(top):
            raise OnnxplainError(f"top: found {top!r:.40}, expected a number from 1")
        (prediction,) = self.engine.predict([self.engine.read(image, self.limits.megapixels)])
        ranked = [
            {"class_id": index, "label": label, "score": json_number(float(score))}
            for index, label, score in prediction.top(int(top))
        ]
        box = prediction.box_xyxy
        return _json({"top": ranked, "box_xyxy": None if box is None else [json_number(float(side)) for side in box]})

    def _explain(self, image: bytes, query: Mapping[str, str], accept: str) -> Reply:
        fallback = _FAST_METHOD if _FAST_METHOD in supported(self.engine) else "rise"
        method, target = query.get("method", fallback), query.get("target")
        if method not in METHODS:
            raise OnnxplainError(f"method: found {method!r:.40}, expected one of {', '.join(METHODS)}")
        aimed = int(target) if target is not None and target.isdecimal() else target
        pixels = self.engine.read(image, self.limits.megapixels)
        explanation = explain(self.engine, pixels, method, target=aimed)
        if "image/png" in accept:
            return Reply(_png(explanation.overlay(pixels)), "image/png")
        line = describe_explanation(explanation, explanation.boxes(), None)
        return _json({**line, "raw": [[json_number(float(value)) for value in row] for row in explanation.raw]})


def app_of_environment() -> ImageService:
    """The service for the file that the variable ONNXPLAIN_MODEL names. Runs of its model end as its requests do."""
    limits = Limits()
    path = os.environ.get(MODEL_VARIABLE)
    if not path:
        raise OnnxplainError(f"{MODEL_VARIABLE}: found nothing, expected the path of an ONNX file")
    return ImageService(Engine(path, timeout=limits.seconds), limits)


def _json(tree: Any) -> Reply:
    return Reply(json.dumps(tree, allow_nan=False).encode())


def _png(picture: Any) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", picture[..., ::-1])[1])


async def _send(send: Send, status: int, answer: Reply) -> None:
    headers: Sequence[tuple[bytes, bytes]] = [
        (b"content-type", answer.kind.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *([(b"retry-after", b"1")] if status == 503 else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
