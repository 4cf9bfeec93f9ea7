"""What is not as ``run.json`` says before anything is explained again: files, options, versions, the processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from onnxplain.explanations.differences import Difference
from onnxplain.explanations.run_record import RECORD_FILE, hash_of

if TYPE_CHECKING:
    from onnxplain.explanations.verify_folder import RunToVerify


def changed_files(run: RunToVerify) -> Iterator[Difference]:
    """The files of the model that are not as they were. Raises OnnxplainError if one is gone."""
    model = run.record["model"]
    for entry in ({"file": model["file"], "sha256": model["sha256"]}, *model["weights"]):
        found = hash_of(run.folder / entry["file"])
        if found != entry["sha256"]:
            yield Difference("model", str(entry["file"]), f"SHA-256 {found[:12]}…", f"{entry['sha256'][:12]}…")


def changed_references(run: RunToVerify) -> Iterator[Difference]:
    """The reference images of embeddings that are not as they were."""
    aims = [question["aim"] for question in run.record["questions"] if question["aim"] is not None]
    for like in {aim["like"]["file"]: aim["like"] for aim in aims if aim["like"] is not None}.values():
        found = hash_of(run.folder / like["file"])
        if found != like["sha256"]:
            yield Difference("image", str(like["file"]), f"SHA-256 {found[:12]}…", f"{like['sha256'][:12]}…")


def changed_surroundings(run: RunToVerify) -> Iterator[Difference]:
    """The versions and traits of the processor that are others now."""
    from onnxplain.machine.installed import find_versions, read_processor

    for name, found in find_versions().items():
        recorded = run.record["versions"].get(name)
        if found != recorded:
            yield Difference("version", f"version of {name}", str(found), str(recorded))
    processor = read_processor().as_json()
    if processor != run.record["processor"]:
        yield Difference("version", "processor", str(processor), str(run.record["processor"]))


def changed_options(run: RunToVerify) -> Iterator[Difference]:
    """The options of a method that ``run.json`` states otherwise than the lines of its maps."""
    asked: Mapping[str, Any] = {question["method"]: question["options"] for question in run.record["questions"]}
    recorded = {line["method"]: line["options"] for line in run.lines if "error" not in line}
    for method, options in recorded.items():
        stated = asked.get(method, {})
        for name in dict.fromkeys((*stated, *options)):
            if stated.get(name) != options.get(name):
                yield Difference(
                    "option", f"{RECORD_FILE} {method} {name}", str(stated.get(name)), str(options.get(name))
                )
