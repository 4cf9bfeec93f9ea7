"""Which methods work with a file, what they cost for one image on this machine, and when to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxplain.errors import OnnxplainError, UnsupportedError
from onnxplain.explanations.pass_times import PassTimes

if TYPE_CHECKING:
    from onnxplain.explainers.passes import Passes
    from onnxplain.runtime import Engine


@dataclass(frozen=True, eq=False)
class MethodChoice:
    """A method for one file. `use`: when to use it. `obstacle`: why it does not work with the file and the options.

    `passes`: the runs of the model for one target of one image; `seconds`: their time, measured on this machine. It
    leaves out what the method computes itself. None where they are not known.
    """

    name: str
    use: str
    passes: Passes | None = None
    seconds: float | None = None
    obstacle: OnnxplainError | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        """For `onnxplain methods --for MODEL --json`."""
        return {
            "name": self.name,
            "works": self.obstacle is None,
            "evaluations": None if self.passes is None else self.passes.evaluations,
            "seconds": self.seconds,
            "use": self.use,
            "obstacle": None if self.obstacle is None else str(self.obstacle),
        }


def list_choices(engine: Engine, times: PassTimes, options: Mapping[str, Any]) -> list[MethodChoice]:
    """One per method, in the order of the table. Each method gets those of the options that it takes."""
    from onnxplain.explainers import METHODS
    from onnxplain.explainers.registry import find_lack

    choices = []
    for name, method in METHODS.items():
        taken = {option: value for option, value in options.items() if option in method.options}
        try:
            lack = find_lack(method.needs, engine.spec)
            if lack is not None:
                raise UnsupportedError(f"needs {lack.what}, but {lack.otherwise}")
            passes = method.build(engine, **taken).passes
        except OnnxplainError as error:
            choices.append(MethodChoice(name, method.use, obstacle=error))
            continue
        choices.append(MethodChoice(name, method.use, passes, None if passes is None else times.estimate(passes)))
    return choices
