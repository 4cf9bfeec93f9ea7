"""Workers as actors of Ray: on this machine, or on a cluster."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from onnxplain.batch.fleet import TaskResult, make_with_fleet
from onnxplain.batch.job import BatchEvent, BatchJob, ImageTrial, PartDone, PartTask
from onnxplain.batch.messages import TrialDone, WorkerFailed, WorkerReady
from onnxplain.batch.ray_guard import guarded
from onnxplain.batch.shipping import ShippedJob, ship
from onnxplain.batch.todo import MOST_KILLS, PartsToDo
from onnxplain.batch.worker import failure_of
from onnxplain.errors import OnnxplainError
from onnxplain.runtime.image import one_line

if TYPE_CHECKING:
    from onnxplain.batch.part import PartMaker

_Done = TypeVar("_Done", WorkerReady, PartDone, TrialDone)

LOCAL = "local"
# A cluster of this machine that is started for the batch needs no token, and says nothing to anyone. Its processes
# rename themselves; with the third setting not over their environment, by which `ray_guard` finds them.
_LOCAL_SETTINGS = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "SPT_NOENV": "1"}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
_SECONDS_FOR_THE_FIRST = 300.0
_SECONDS_TO_ANSWER = 10.0


@dataclass(frozen=True)
class RayChoice:
    """Where actors run, and what each of them needs.

    `address`: ``"local"`` starts a cluster on this machine for the time of the batch; else that of a cluster, such as
    ``"10.0.0.1:6379"``, ``"auto"`` or ``"ray://host:10001"``. `gpus`: of each actor; 0.25: four share a device.
    `resources`: other resources of each actor, by name; a resource that only some machines have places actors there.
    """

    address: str
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class InStore:
    """A `ShippedJob` in Ray's store: the reference alone travels with a call, and Ray does not resolve it."""

    shipped: Any


class PartActor:
    """A worker: holds the engine, which it opens when it is first asked, also after a restart.

    Each call brings the job as `InStore`, so that nothing is read where the engine is open.
    """

    def __init__(self) -> None:
        self._maker: PartMaker | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="onnxplain-model-")

    def open(self, job: InStore) -> WorkerReady | WorkerFailed:
        """Open the model."""

        def do(maker: PartMaker) -> WorkerReady:
            return WorkerReady()

        return self._answer(job, do)

    def make(self, job: InStore, task: PartTask) -> PartDone | WorkerFailed:
        """Do a part."""

        def do(maker: PartMaker) -> PartDone:
            return maker.make(task, lambda progress: None)

        return self._answer(job, do)

    def try_image(self, job: InStore, task: ImageTrial) -> TrialDone | WorkerFailed:
        """Explain an image and keep nothing."""

        def do(maker: PartMaker) -> TrialDone:
            maker.try_image(task)
            return TrialDone()

        return self._answer(job, do)

    def _answer(self, job: InStore, do: Callable[[PartMaker], _Done]) -> _Done | WorkerFailed:
        try:
            if self._maker is None:
                self._maker = self._open(job)
            return do(self._maker)
        except Exception as error:
            return failure_of(error)

    def _open(self, job: InStore) -> PartMaker:
        import cv2
        import ray

        from onnxplain.batch.part import PartMaker

        opened = ray.get(job.shipped).open(Path(self._folder.name))
        cv2.setNumThreads(opened.threads)
        return PartMaker(opened)


class RayFleet:
    """Actors of a Ray that is initialized. Ray restarts them, on any machine, and repeats their parts."""

    attempts = MOST_KILLS

    def __init__(self, ray: Any, shipped: ShippedJob, choice: RayChoice, threads: int) -> None:
        self._ray, self._choice, self._threads = ray, choice, threads
        self._job = InStore(ray.put(shipped))
        self._class = ray.remote(PartActor).options(
            num_cpus=threads,
            num_gpus=choice.gpus,
            resources=dict(choice.resources) or None,
            max_restarts=-1,
            max_task_retries=self.attempts - 1,
            scheduling_strategy="SPREAD",
        )
        self._actors: dict[int, Any] = {}
        self._began, self._one_has_begun = time.monotonic(), False

    def open(self, worker: int) -> Any:
        """Let an actor, new or restarted, open the model."""
        if worker not in self._actors:
            self._actors[worker] = self._class.remote()
        return self._actors[worker].open.remote(self._job)

    def make(self, worker: int, task: PartTask) -> Any:
        """Let an actor do a part."""
        return self._actors[worker].make.remote(self._job, task)

    def try_image(self, worker: int, task: ImageTrial) -> Any:
        """Let an actor explain one image, once."""
        return self._actors[worker].try_image.options(max_task_retries=0).remote(self._job, task)

    def wait(self, handles: Sequence[Any], seconds: float | None) -> Sequence[Any]:
        """The results that are there, at least one unless the seconds are over."""
        left = None if self._one_has_begun else self._began + _SECONDS_FOR_THE_FIRST - time.monotonic()
        limits = [limit for limit in (seconds, left) if limit is not None]
        ready, others = self._ray.wait(list(handles), num_returns=1, timeout=max(0.0, min(limits)) if limits else None)
        if ready:
            self._one_has_begun = True
            more, _ = self._ray.wait(others, num_returns=len(others), timeout=0) if others else ([], [])
            return [*ready, *more]
        if not self._one_has_begun and left is not None and left <= 0:
            raise OnnxplainError(
                f"--address {self._choice.address}: found no worker that began within {_SECONDS_FOR_THE_FIRST:.0f} s "
                f"(the cluster has {self._resources()}), expected room for {self._wanted()}: ask for less, or add "
                "machines"
            )
        return []

    def result(self, handle: Any) -> TaskResult:
        """The result; None if the actor died each time."""
        try:
            result: TaskResult = self._ray.get(handle)
        except self._ray.exceptions.RayActorError as error:
            if isinstance(error, self._ray.exceptions.ActorDiedError):
                # Ray gives this actor up: another one takes its place.
                self._actors = {worker: actor for worker, actor in self._actors.items() if not _is_dead(error, actor)}
            return None
        except self._ray.exceptions.RayError as error:
            raise OnnxplainError(
                f"--address {self._choice.address}: found an error of Ray ({one_line(error)}), expected a result of a "
                "worker: look at the cluster's logs"
            ) from error
        return result

    def _wanted(self) -> str:
        wanted = {"CPU": self._threads, "GPU": self._choice.gpus, **self._choice.resources}
        return ", ".join(f"{amount:g} {name}" for name, amount in wanted.items() if amount)

    def _resources(self) -> str:
        found = self._ray.cluster_resources()
        hidden = ("node:", "memory", "object_store_memory")
        return ", ".join(f"{amount:g} {name}" for name, amount in sorted(found.items()) if not name.startswith(hidden))


def make_with_ray(
    job: BatchJob,
    todo: PartsToDo,
    choice: RayChoice,
    workers: int,
    report: Callable[[BatchEvent], None],
    check: Callable[[PartDone], None],
) -> None:
    """Do all parts with `workers` actors; 0: as many as the cluster has processor cores for, or devices.

    Raises the errors of `make_with_fleet`, and OnnxplainError if Ray cannot be started or reached, or has no room.
    """
    shipped = ship(job)
    with connected(choice, max(workers, 1) * job.threads) as ray:
        count = workers or _room(ray.cluster_resources(), choice, job.threads)
        make_with_fleet(RayFleet(ray, shipped, choice, job.threads), todo, count, report, check)


@contextmanager
def connected(choice: RayChoice, cores: int) -> Iterator[Any]:
    """The module `ray`, initialized; everything that was started is ended with the context. Raises OnnxplainError."""
    is_local = choice.address == LOCAL
    with _alone() if is_local else nullcontext():
        import ray

        here: dict[str, Any] = {}
        if is_local:
            # The modules come from where this process has them.
            paths = os.pathsep.join(path for path in sys.path if path)
            here = {
                "include_dashboard": False,
                "num_cpus": max(cores, os.cpu_count() or 1),
                "runtime_env": {"env_vars": {"PYTHONPATH": paths}},
            }
        try:
            ray.init(address=choice.address, log_to_driver=False, logging_level="ERROR", **here)
        except Exception as error:
            ray.shutdown()
            do = "try again when the machine has less to do" if is_local else "look at the cluster's logs"
            raise OnnxplainError(
                f"--address {choice.address}: found no Ray ({one_line(error)}), expected one that answers: {do}"
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def check_answers(address: str) -> None:
    """Raise OnnxplainError unless something listens at HOST:PORT: Ray itself would try for minutes."""
    if address == LOCAL:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        if address != "auto":
            raise OnnxplainError(
                f"--address: found {address}, expected local, auto, HOST:PORT or ray://HOST:PORT: check the address"
            )
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise OnnxplainError(
            f"--address {address}: found nothing that answers ({one_line(error)}), expected a Ray cluster: check the "
            "address, and that Ray runs there"
        ) from error


def _room(found: Mapping[str, float], choice: RayChoice, threads: int) -> int:
    """How many actors fit on a cluster at once, at least one."""
    wanted = {"CPU": float(threads), "GPU": choice.gpus, **choice.resources}
    return max(1, int(min(found.get(name, 0) / amount for name, amount in wanted.items() if amount)))


def _is_dead(error: Any, actor: Any) -> bool:
    return bool(getattr(error, "actor_id", None) == actor._actor_id.hex())


@contextmanager
def _alone() -> Iterator[None]:
    """Ray reads its settings, and its channels the proxies, from the environment; what it starts ends with it."""
    proxies = {name for name in os.environ if name.lower() in _PROXIES}
    before = {name: os.environ.get(name) for name in {*_LOCAL_SETTINGS, *proxies}}
    for name in proxies:
        del os.environ[name]
    os.environ.update(_LOCAL_SETTINGS)
    try:
        with guarded():
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
