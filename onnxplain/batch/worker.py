"""A worker process: does the parts that its driver sends, and ends with it."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from typing import IO

from onnxplain.batch.job import BatchJob, PartTask, TrialTask
from onnxplain.batch.messages import ImageTried, TrialDone, WorkerFailed, WorkerReady, receive_bytes, send
from onnxplain.batch.reader import error_text
from onnxplain.errors import OnnxplainError


def work() -> None:
    """Read a job and then tasks from standard input, write events to standard output, until either ends."""
    # Ctrl-C reaches all processes of a terminal. The driver decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What libraries print must not come between the messages.
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    tasks = _read_until_driver_ends(sys.stdin.buffer)
    try:
        _work(tasks, events)
    except BrokenPipeError:
        os._exit(1)


def _read_until_driver_ends(stream: IO[bytes]) -> queue.Queue[bytes]:
    """Messages of the driver as they come. The pipe closes when the driver ends, however it ends: so does this process.

    The thread only copies bytes, so that it sees the end at once, whatever the model is doing.
    """
    received: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        while (content := receive_bytes(stream)) is not None:
            received.put(content)
        os._exit(1)

    threading.Thread(target=read, name="onnxplain-driver-watch", daemon=True).start()
    return received


def _work(tasks: queue.Queue[bytes], events: IO[bytes]) -> None:
    from onnxplain.batch.part import PartMaker

    try:
        maker = PartMaker(_open_job(tasks.get()))
        send(events, WorkerReady())
        while True:
            task = pickle.loads(tasks.get())
            if isinstance(task, PartTask):
                send(events, maker.make(task, lambda progress: send(events, progress)))
            else:
                assert isinstance(task, TrialTask)
                maker.try_images(task, lambda place: send(events, ImageTried(place)))
                send(events, TrialDone())
    except BrokenPipeError:
        raise
    except Exception as error:
        send(events, failure_of(error))


def failure_of(error: Exception) -> WorkerFailed:
    """What a worker says of an error that it cannot go on after."""
    from onnxplain.batch.part import NothingExplainedError

    return WorkerFailed(error_text(error), all_failed=isinstance(error, NothingExplainedError))


def _open_job(content: bytes) -> BatchJob:
    """The job; its engine is opened here, with its share of the threads."""
    import cv2

    from onnxplain.explanations.run_record import hash_of

    job: BatchJob = pickle.loads(content)
    cv2.setNumThreads(job.threads)
    found = hash_of(job.engine.path)
    if found != job.model_sha256:
        raise OnnxplainError(
            f"{job.engine.path}: found SHA-256 {found[:12]}…, expected {job.model_sha256[:12]}…: the model changed "
            "while the batch runs: start again with another -o"
        )
    return job
