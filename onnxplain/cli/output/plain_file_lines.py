"""What `inspect` says about a file that is not instrumented: its format, and the methods after instrumenting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError
from onnxplain.extras import install_command, missing_modules

if TYPE_CHECKING:
    from onnxplain.contract import HeadSpec
    from onnxplain.exporters import Candidate
    from onnxplain.runtime.protobuf.model_facts import ModelFacts


@dataclass(frozen=True)
class Prospect:
    """What instrumenting makes possible. Without a chosen feature map, `obstacle` says why it is impossible.

    `methods`: those that then work for certain; `at_pixels`: those that need the gradient at the pixels, which
    `explain` adds where the graph allows it; `with_tail`: those that also need a tail file, which not every graph
    allows. All are empty, and there is no obstacle, if the extra `export` is missing.
    """

    candidates: tuple[Candidate, ...] = ()
    methods: tuple[str, ...] = ()
    with_tail: tuple[str, ...] = ()
    at_pixels: tuple[str, ...] = ()
    obstacle: OnnxplainError | None = None

    @classmethod
    def of(cls, candidates: Sequence[Candidate], heads: Sequence[HeadSpec]) -> Prospect:
        """From the feature maps and the heads of the file."""
        from onnxplain.explainers import METHODS
        from onnxplain.explainers.needs import (
            COMPARABLE,
            INPUT_GRADIENT,
            LINEAR_HEAD,
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
        return cls(
            tuple(candidates),
            tuple(name for name, need in needs.items() if need in certain),
            tuple(name for name, need in needs.items() if need is TAIL),
            tuple(name for name, need in needs.items() if need is INPUT_GRADIENT),
        )

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
        pixels = f"; if the pixels have a gradient, {', '.join(self.at_pixels)}" if self.at_pixels else ""
        tail = f"; if a tail file is possible, {', '.join(self.with_tail)}" if self.with_tail else ""
        return [
            ("once instrumented", f"{', '.join(self.methods)}{pixels}{tail}"),
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
