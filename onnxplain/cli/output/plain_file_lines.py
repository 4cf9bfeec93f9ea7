"""What `inspect` says about a file that is not instrumented: its format, and the methods after instrumenting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError
from onnxplain.extras import install_command, missing_modules

if TYPE_CHECKING:
    from onnxplain.contract import HeadSpec
    from onnxplain.exporters import Candidate
    from onnxplain.runtime.protobuf.model_facts import ModelFacts


# What else the graph must allow, by the key of the methods in the JSON.
CONDITIONS = {
    "methods_at_pixels": "if the pixels have a gradient",
    "methods_of_attention": "if attention matrices stand in the graph",
    "methods_with_tail_file": "if a tail file is possible",
}


@dataclass(frozen=True)
class Prospect:
    """What instrumenting makes possible. Without a chosen feature map, `obstacle` says why it is impossible.

    `methods`: those that then work for certain; `others`: those that need more, which not every graph allows, by their
    key in the JSON. All are empty, and there is no obstacle, if the extra `export` is missing.
    """

    candidates: tuple[Candidate, ...] = ()
    methods: tuple[str, ...] = ()
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    obstacle: OnnxplainError | None = None

    @classmethod
    def of(cls, candidates: Sequence[Candidate], heads: Sequence[HeadSpec]) -> Prospect:
        """From the feature maps and the heads of the file."""
        from onnxplain.explainers import METHODS
        from onnxplain.explainers.needs import (
            COMPARABLE,
            INPUT_GRADIENT,
            LINEAR_HEAD,
            OF_ATTENTION,
            OF_BOXES,
            OF_LAYERS,
            PLAIN,
            TAIL,
            is_compared,
        )

        chosen = next((each for each in candidates if each.chosen), None)
        if chosen is None:
            return cls(obstacle=OnnxplainError("no feature map leads to the outputs"))
        if not {"grad-cam", "hires-cam"}.intersection(chosen.methods):
            return cls(
                tuple(candidates), obstacle=OnnxplainError(f"an operator after {chosen.name} has no gradient rule")
            )
        if "hires-cam" in chosen.methods:
            return cls(tuple(candidates), tuple(name for name, each in METHODS.items() if each.needs in OF_BOXES))
        needs = {name: method.needs for name, method in METHODS.items()}
        certain = [*PLAIN, *OF_LAYERS, *([LINEAR_HEAD] if "cam" in chosen.methods else [])]
        certain += [COMPARABLE] if any(map(is_compared, heads)) else []
        others = {
            key: tuple(name for name, need in needs.items() if need in those)
            for key, those in zip(CONDITIONS, ((INPUT_GRADIENT,), OF_ATTENTION, (TAIL,)), strict=True)
        }
        return cls(tuple(candidates), tuple(name for name, need in needs.items() if need in certain), others)

    def lines(self) -> list[tuple[str, str]]:
        """Titles and texts."""
        if self.obstacle is not None:
            return [("once instrumented", f"not possible: {self.obstacle}")]
        if not self.methods:
            missing = ", ".join(missing_modules("export"))
            return [("once instrumented", f"all methods that need a layer: {install_command('export')} ({missing})")]
        chosen = [each for each in self.candidates if each.chosen]
        selected = "; ".join(
            f"{each.name}, {each.channels} channels, {each.size_hw[0]}x{each.size_hw[1]}" for each in chosen
        )
        others = [f"; {CONDITIONS[key]}, {', '.join(names)}" for key, names in self.others.items()]
        return [
            ("once instrumented", f"{', '.join(self.methods)}{''.join(others)}"),
            ("", "`onnxplain explain` instruments the file on the way; `onnxplain instrument` writes it to keep"),
            (
                "feature maps",
                f"{len(self.candidates)}; auto selects {selected}; --layers lists all",
            ),
        ]


def describe_format(facts: ModelFacts, weights: Sequence[str]) -> str:
    """Versions, producer and external files, on one line."""
    opsets = [f"opset {number}" if not domain else f"{domain} {number}" for domain, number in facts.opsets.items()]
    parts = [f"IR {facts.ir_version}", *opsets, *([f"from {facts.producer}"] if facts.producer else [])]
    if weights:
        parts.append(f"weights in {', '.join(weights)}")
    return ", ".join(parts)


def format_tree(facts: ModelFacts, weights: Sequence[str]) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "ir_version": facts.ir_version,
        "opsets": dict(facts.opsets),
        "producer": facts.producer,
        "weights": list(weights),
    }
