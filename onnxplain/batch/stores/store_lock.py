"""One writer at a time in a store, which has no locks: an object says who writes there and when it last did."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxplain.errors import OnnxplainError
from onnxplain.files.json_bytes import json_bytes
from onnxplain.files.lock import FOLDER_LOCK

if TYPE_CHECKING:
    from onnxplain.batch.stores.store_output import StoreOutput


@dataclass(frozen=True)
class LockTimes:
    """How often a lock is renewed, when one that is not does not count any more, and how long a new one is watched.

    All in seconds. The clocks of two machines must differ by less than `expires` − `renewed`.
    """

    renewed: float = 20.0
    expires: float = 90.0
    watched: float = 2.0


@contextmanager
def hold_lock(place: StoreOutput, times: LockTimes) -> Iterator[None]:
    """Keep the lock of a folder while the context lasts. Raises OnnxplainError if another process has it.

    Of several processes that find no lock at once, each writes its own, and the last one stays. Each looks again when
    all of them must have written. A process that wrote late may have replaced a lock that holds: it waits until that
    one's owner would have renewed it. (Fischer's algorithm; Lamport, A Fast Mutual Exclusion Algorithm, 1987.)
    """
    token = secrets.token_hex(16)
    _refuse_other(place, token, times)
    looked = time.monotonic()
    _renew(place, token)
    is_late = time.monotonic() - looked > times.watched
    time.sleep(2 * times.renewed if is_late else times.watched)
    _refuse_other(place, token, times)
    ended = threading.Event()
    thread = threading.Thread(target=_keep, args=(place, token, times, ended), name="onnxplain-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        # A store that fails now leaves the lock there, which then expires.
        with suppress(OnnxplainError):
            if _read(place).get("token") == token:
                place.remove(FOLDER_LOCK)


def owner_of_lock(place: StoreOutput, times: LockTimes) -> str | None:
    """The host and the process that renewed the lock lately; None if nobody did."""
    found = _read(place)
    return _name(found) if _is_alive(found, times) else None


def _refuse_other(place: StoreOutput, token: str, times: LockTimes) -> None:
    found = _read(place)
    if found.get("token") != token and _is_alive(found, times):
        raise OnnxplainError(
            f"{place.title}: another onnxplain is writing there ({_name(found)}): wait for its end, or give another "
            f"place with -o; if it was killed, its lock ends {times.expires:.0f} s later"
        )


def _keep(place: StoreOutput, token: str, times: LockTimes, ended: threading.Event) -> None:
    while not ended.wait(times.renewed):
        # One that fails is tried again in time.
        with suppress(OnnxplainError):
            _renew(place, token)


def _renew(place: StoreOutput, token: str) -> None:
    content = {"token": token, "host": socket.gethostname(), "process": os.getpid(), "time": time.time()}
    place.write(FOLDER_LOCK, json_bytes(content))


def _read(place: StoreOutput) -> dict[str, object]:
    try:
        found = json.loads(place.read(FOLDER_LOCK) or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_alive(found: dict[str, object], times: LockTimes) -> bool:
    written = found.get("time")
    return isinstance(written, int | float) and time.time() - written <= times.expires


def _name(found: dict[str, object]) -> str:
    return f"process {found.get('process')} on {found.get('host')}"
