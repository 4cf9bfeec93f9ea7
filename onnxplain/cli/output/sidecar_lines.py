"""What was read from other tools' metadata and files, and what was found there but not used; for people."""

from __future__ import annotations

from typing import Any

from onnxplain.cli.output.terminal import say
from onnxplain.explanations.warning_texts import problem_text
from onnxplain.sidecars import SidecarFacts


def describe_sidecars(facts: SidecarFacts) -> list[tuple[str, str]]:
    """One line per fact: what was read, and where. The parts of the preprocessing stand with their origins."""
    lines = []
    if facts.labels is not None:
        lines.append(f"{len(facts.labels.value)} labels, from {facts.labels.source}")
    if facts.input_size_hw is not None:
        height, width = facts.input_size_hw.value
        lines.append(f"input size {height}x{width}, from {facts.input_size_hw.source}")
    if facts.task is not None:
        lines.append(f"task {facts.task.value}, from {facts.task.source}")
    if facts.kind is not None:
        lines.append(f"kind of answer {facts.kind.value}, from {facts.kind.source}")
    return [("read", line) for line in lines]


def sidecar_tree(facts: SidecarFacts) -> dict[str, Any]:
    """The same for JSON: the source of each fact, and the problems."""
    named = {
        "labels": facts.labels,
        "preprocessing": facts.parts,
        "input_size_hw": facts.input_size_hw,
        "task": facts.task,
        "kind": facts.kind,
    }
    return {
        "read": {name: fact.source for name, fact in named.items() if fact is not None},
        "not_used": [vars(problem) for problem in facts.problems],
    }


def print_problems(facts: SidecarFacts) -> None:
    """One warning line on standard error for each thing that was found but not used."""
    for problem in facts.problems:
        say(f"onnxplain: warning: {problem_text(problem)}", err=True)
