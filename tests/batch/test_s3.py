"""A batch from and into an S3-compatible server that fails now and then (`make test-s3`)."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from onnxplain.batch.stores import storage
from onnxplain.batch.stores.output import OutputPlace
from onnxplain.batch.stores.store_lock import LockTimes
from onnxplain.batch.stores.store_output import StoreOutput
from onnxplain.errors import OnnxplainError
from tests.batch.reading import part_bytes
from tests.batch.trouble import run

pytestmark = [
    pytest.mark.s3,
    pytest.mark.skipif(find_spec("moto") is None, reason="moto is not installed"),
]
QUICK = LockTimes(renewed=5.0, expires=20.0, watched=0.1)
_ERROR = b"<Error><Code>%s</Code><Message>injected</Message></Error>"

Environment = dict[str, Any]


@dataclass
class FailingServer:
    """S3 by moto, behind a layer that answers 500 or 503 before or after an object was written or read."""

    app: Callable[[Environment, Any], Iterable[bytes]]
    share: float = 0.0
    broken: str = "nothing"
    rng: random.Random = field(default_factory=lambda: random.Random(20))
    requests: list[tuple[str, str]] = field(default_factory=list)
    failures: int = 0

    def __call__(self, environ: Environment, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.requests.append((environ["REQUEST_METHOD"], f"{path}?{environ['QUERY_STRING']}"))
        if self.broken not in path and self.rng.random() >= self.share:
            return self.app(environ, start_response)
        self.failures += 1
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, code = self.rng.choice([("503 Slow Down", b"SlowDown"), ("500 Internal Error", b"InternalError")])
        start_response(status, [("Content-Type", "application/xml")])
        return [_ERROR % code]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[FailingServer, str]]:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    failing = FailingServer(DomainDispatcherApplication(create_backend_app))
    listening = make_server("127.0.0.1", 0, failing, threaded=True)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield failing, f"endpoint_override=127.0.0.1:{listening.server_port}&scheme=http&region=us-east-1"
    listening.shutdown()
    thread.join()


@pytest.fixture
def store(
    server: tuple[FailingServer, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[FailingServer, Callable[[str], str]]:
    """The server, and the URI of a folder in a bucket of this test."""
    failing, options = server
    failing.share, failing.broken = 0.0, "nothing"
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket = f"bucket-{abs(hash(request.node.name)) % 10**8}"
    filesystem, _ = storage.open_store(f"s3://any?{options}&allow_bucket_creation=true")
    filesystem.create_dir(bucket)
    failing.requests.clear()
    failing.failures = 0
    return failing, lambda folder: f"s3://{bucket}/{folder}?{options}"


def parts(place: OutputPlace) -> dict[str, bytes]:
    return {name: place.read(name) or b"" for name in sorted(place.times()) if name.endswith(".parquet")}


@pytest.fixture(scope="module")
def whole(model: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    run(model, photos, folder)
    return part_bytes(folder)


def test_each_object_is_one_request_and_the_parts_have_the_bytes_of_a_folder(store, model, photos, whole) -> None:
    failing, uri = store
    place = StoreOutput(uri("out"), QUICK)
    run(model, photos, place)
    written = Counter(path for method, path in failing.requests if method in ("PUT", "POST") and "part-" in path)
    assert len(written) == len(whole)
    assert set(written.values()) == {1}
    assert not [path for _, path in failing.requests if "uploads" in path]
    assert parts(place) == whole
    assert place.read("_SUCCESS") == b""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_server_that_fails_now_and_then_loses_nothing(workers, store, model, photos, whole) -> None:
    """More often than pyarrow's own retries bear."""
    failing, uri = store
    failing.share = 0.4
    place = StoreOutput(uri("out"), QUICK)
    run(model, photos, place, workers=workers)
    assert failing.failures > 10
    failing.share = 0.0
    assert parts(place) == whole


def test_a_server_that_breaks_is_named_and_the_run_goes_on_later(store, model, photos, whole, monkeypatch) -> None:
    failing, uri = store
    monkeypatch.setattr(storage, "PAUSES_SECONDS", (0.1,))
    failing.broken = "part-00003"
    place = StoreOutput(uri("out"), QUICK)
    with pytest.raises(OnnxplainError, match=r"out/part-00003.parquet: cannot be written \(.*; 2 attempts\)") as found:
        run(model, photos, place)
    assert "\n" not in str(found.value)
    assert sorted(parts(place)) == [f"part-{number:05}.parquet" for number in range(3)]
    failing.broken = "nothing"
    failing.requests.clear()
    run(model, photos, place)
    assert parts(place) == whole
    assert not [path for method, path in failing.requests if method == "PUT" and "part-00000" in path]


def test_images_of_a_server(store, model, photos, tmp_path) -> None:
    failing, uri = store
    source = StoreOutput(uri("photos"), QUICK)
    for path in sorted(photos.glob("*.png"))[:12]:
        source.write(path.name, path.read_bytes())
    failing.share = 0.3
    assert run(model, uri("photos"), tmp_path / "out").failed == 0
    assert failing.failures > 2
