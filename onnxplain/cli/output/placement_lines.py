"""Which nodes of a file fall back to the CPU on another provider."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from onnxplain.cli.output.tables import print_table
from onnxplain.cli.output.terminal import say
from onnxplain.machine.placement import PlacedNode, find_placement
from onnxplain.machine.providers import CPU, short_name

if TYPE_CHECKING:
    from onnxplain.runtime import Engine

_NAMES_SHOWN = 3


def read_placement(engine: Engine, providers: Sequence[str]) -> tuple[PlacedNode, ...]:
    """Where each node of the engine's file runs with these providers. Opens the file once more."""
    from onnxplain.runtime.sessions.session import open_session

    return find_placement(open_session(engine.path, providers, None, record_placement=True))


def placement_tree(engine: Engine, nodes: Sequence[PlacedNode]) -> dict[str, Any]:
    """For JSON: how many nodes each provider runs, and the nodes that fell back."""
    fallen = [{name: value for name, value in asdict(node).items() if name != "provider"} for node in _fallen(nodes)]
    return {"nodes": _counts(engine, nodes), "on_cpu": fallen}


def print_placement(engine: Engine, nodes: Sequence[PlacedNode]) -> None:
    """How many nodes each provider runs, and a table of the operators that fell back to the CPU."""
    say()
    counts = [f"{short_name(name)} {count}" for name, count in _counts(engine, nodes).items()]
    say(f"nodes by provider: {', '.join(counts)}")
    by_operator: dict[str, list[str]] = defaultdict(list)
    for node in _fallen(nodes) if engine.providers[0] != CPU else ():
        by_operator[f"{node.domain}:{node.operator}" if node.domain else node.operator].append(node.name)
    if not by_operator:
        return
    say("these run on the CPU provider:")
    say()
    print_table(
        ("operator", "nodes", "names"),
        [(name, str(len(names)), _shown(names)) for name, names in sorted(by_operator.items())],
        numbers=("nodes",),
    )


def _counts(engine: Engine, nodes: Sequence[PlacedNode]) -> dict[str, int]:
    return {name: sum(node.provider == name for node in nodes) for name in engine.providers}


def _fallen(nodes: Sequence[PlacedNode]) -> list[PlacedNode]:
    return [node for node in nodes if node.provider == CPU]


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(name or "(no name)" for name in names[:_NAMES_SHOWN]) + more
