"""Reading and preparing images ahead of the model, in a thread."""

from __future__ import annotations

import hashlib
import math
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxplain.batch.stores.storage import is_uri, read_object
from onnxplain.errors import ImageError, OnnxplainError
from onnxplain.runtime.image import check_file

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine
    from onnxplain.runtime.images.prepared import PreparedImage

# A group of images is in memory at once, and two more are on their way. A larger image is a group of its own.
_GROUP_PIXELS = 2**24
_LONGEST_ERROR = 1000
# A store answers late, and many requests at once.
_FETCHED_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image of a part: its place there, its name, and the image ready for the model, or the error."""

    place: int
    name: str
    sha256: str | None = None
    prepared: PreparedImage | None = None
    error: str = ""


def read_image_file(
    engine: Engine, name: str, max_megapixels: float, fetched: Future[bytes] | None = None
) -> tuple[str, PreparedImage]:
    """SHA-256 and image of a path or a URI. Raises ImageError, also for a file that changes while it is read.

    `fetched`: the content of a URI, if it is already on its way.
    """
    if is_uri(name):
        content = read_object(name) if fetched is None else fetched.result()
        try:
            return hashlib.sha256(content).hexdigest(), engine.prepare_image(content, max_megapixels)
        except ImageError as error:
            raise ImageError(f"{name}: {str(error).removeprefix('image: ')}") from error
    path = Path(name)
    check_file(path)
    try:
        before = path.stat()
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        prepared = engine.prepare_image(path, max_megapixels)
        after = path.stat()
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be read ({error.strerror or error}), expected an image: check its permissions"
        ) from error
    if (before.st_mtime_ns, before.st_size, before.st_ino) != (after.st_mtime_ns, after.st_size, after.st_ino):
        raise ImageError(f"{path}: found a file that changed while it was read, expected a whole one: explain it again")
    return sha256, prepared


def fetch_ahead(names: Iterable[str]) -> Iterator[Future[bytes] | None]:
    """The content of each URI, several on their way at once; None for each path, which is read where it is needed."""
    waiting: deque[Future[bytes] | None] = deque()
    with ThreadPoolExecutor(_FETCHED_AT_ONCE, thread_name_prefix="onnxplain-fetch") as pool:
        for name in names:
            waiting.append(pool.submit(read_object, name) if is_uri(name) else None)
            if len(waiting) == _FETCHED_AT_ONCE:
                yield waiting.popleft()
        yield from waiting


def error_text(error: BaseException) -> str:
    """An error as the text of a row. What nobody expected says so."""
    expected = isinstance(error, OnnxplainError)
    words = str(error) if expected else f"internal error ({type(error).__name__}: {error})"
    return " ".join(words.split())[:_LONGEST_ERROR]


class GroupReader:
    """Reads the images of a part and hands them over in groups of at most `at_once` images and 2^24 pixels.

    Which images share a group depends on the images alone, not on time: the model sees the same batches each time.
    """

    def __init__(self, engine: Engine, max_megapixels: float, at_once: int) -> None:
        self._engine, self._max_megapixels, self._at_once = engine, max_megapixels, at_once

    @contextmanager
    def groups(self, images: Sequence[str], left_out: frozenset[int]) -> Iterator[Iterator[list[ReadImage]]]:
        """An iterator over the groups, read one ahead of the caller while the context lasts."""
        ready: queue.Queue[list[ReadImage] | BaseException | None] = queue.Queue(maxsize=1)
        stopped = threading.Event()

        def put(item: list[ReadImage] | BaseException | None) -> None:
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return
                except queue.Full:
                    continue

        def work() -> None:
            try:
                for group in self._read_groups(images, left_out):
                    put(group)
                    if stopped.is_set():
                        return
                put(None)
            except BaseException as error:
                put(error)

        def take() -> Iterator[list[ReadImage]]:
            while True:
                item = ready.get()
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item

        thread = threading.Thread(target=work, name="onnxplain-reader", daemon=True)
        thread.start()
        try:
            yield take()
        finally:
            stopped.set()
            thread.join()

    def _read_groups(self, images: Sequence[str], left_out: frozenset[int]) -> Iterator[list[ReadImage]]:
        group: list[ReadImage] = []
        pixels = 0
        wanted = (name for place, name in enumerate(images) if place not in left_out)
        fetched = fetch_ahead(wanted)
        for place, name in enumerate(images):
            killed = ReadImage(place, name, error=killed_text(name))
            image = killed if place in left_out else self.read(place, name, next(fetched))
            size = 0 if image.prepared is None else math.prod(image.prepared.frame.image_size_hw)
            if group and (len(group) == self._at_once or pixels + size > _GROUP_PIXELS):
                yield group
                group, pixels = [], 0
            group.append(image)
            pixels += size
        if group:
            yield group

    def read(self, place: int, name: str, fetched: Future[bytes] | None = None) -> ReadImage:
        """One image; whatever goes wrong is its error."""
        try:
            sha256, prepared = read_image_file(self._engine, name, self._max_megapixels, fetched)
        except Exception as error:
            return ReadImage(place, name, error=error_text(error))
        return ReadImage(place, name, sha256, prepared)


def killed_text(name: str) -> str:
    """The error of an image that killed its process each time it was explained alone."""
    return f"{name}: the process died each time while this image was explained: look at the image and at the memory"
