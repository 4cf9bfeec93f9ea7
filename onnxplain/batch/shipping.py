"""A job together with the files of its model, for machines that do not see the model's path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxplain.batch.job import BatchJob
from onnxplain.errors import OnnxplainError
from onnxplain.explanations.run_record import hash_of
from onnxplain.files.atomic import write_atomically
from onnxplain.machine.installed import find_versions
from onnxplain.runtime.protobuf.model_facts import model_files
from onnxplain.sidecars.tools import sidecar_files

if TYPE_CHECKING:
    from onnxplain.runtime.engine import Engine

# The bytes of a part depend on these.
_SAME_VERSIONS = ("onnxplain", "onnxruntime", "pyarrow")


@dataclass(frozen=True, eq=False)
class ShippedJob:
    """A job without its engine, and how the engine is opened again.

    `reopen`: a function and its arguments, the second of which holds the engine's. `files`: the model, its external
    data, its tail and the files of other tools beside it, by their paths in the model's folder. `description`: what the
    model must be read as. `versions`: of the packages on which results depend.
    """

    others: Mapping[str, Any]
    reopen: tuple[Any, tuple[Any, ...]]
    model: Path
    model_sha256: str
    files: Mapping[str, bytes]
    description: str
    versions: Mapping[str, str | None]

    def open(self, folder: Path) -> BatchJob:
        """The job with its engine. Unless this machine sees the model's path, its files are written to `folder`.

        Raises OnnxplainError for other versions of packages, and for a model that is read otherwise here.
        """
        found = _versions()
        for name, version in self.versions.items():
            if found[name] != version:
                raise OnnxplainError(
                    f"worker: found {name} {found[name] or 'not installed'}, expected {version}, as where the batch "
                    "was started: install the same version on every machine"
                )
        function, (kind, arguments, *rest) = self.reopen
        engine = function(kind, {**arguments, "model": self._placed(folder)}, *rest)
        if repr(engine.spec) != self.description:
            raise OnnxplainError(
                f"{self.model.name}: found another description of the model on this machine, expected that of where "
                "the batch was started: write the model with `onnxplain instrument`, which keeps it in the file"
            )
        return BatchJob(engine=engine, **self.others)

    def _placed(self, folder: Path) -> Path:
        if self.model.is_file() and hash_of(self.model) == self.model_sha256:
            return self.model
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        return folder / self.model.name


def ship(job: BatchJob) -> ShippedJob:
    """The job, to be sent anywhere. Raises OnnxplainError if a file of the model cannot be read."""
    engine, folder = job.engine, job.engine.path.absolute().parent
    try:
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files_of(engine, folder)}
    except OSError as error:
        raise OnnxplainError(
            f"{error.filename}: cannot be read ({error.strerror}), expected a file of the model: check its permissions"
        ) from error
    reduced = engine.__reduce__()
    return ShippedJob(
        {field.name: getattr(job, field.name) for field in fields(job) if field.name != "engine"},
        (reduced[0], reduced[1]),
        engine.path.absolute(),
        job.model_sha256,
        files,
        repr(engine.spec),
        _versions(),
    )


def _files_of(engine: Engine, folder: Path) -> Iterator[Path]:
    yield from model_files(engine.path.absolute())
    if engine.spec.tail is not None and (folder / engine.spec.tail.file).is_file():
        yield folder / engine.spec.tail.file
    yield from sidecar_files(engine.path.absolute())


def _versions() -> dict[str, str | None]:
    import pyarrow as pa

    found = {**find_versions(), "pyarrow": pa.__version__}
    return {name: found.get(name) for name in _SAME_VERSIONS}
