"""What a method asks of the model for one target of one image, known before it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Passes:
    """Runs of a model on one image each.

    `forward`: of the whole model. `gradient`: of the whole model with the gradients of a layer. `tail`: of the tail
    file, the part behind the last layer.
    """

    forward: int = 0
    gradient: int = 0
    tail: int = 0

    @property
    def evaluations(self) -> int:
        """All of them, as `Explanation.evaluations` counts them."""
        return self.forward + self.gradient + self.tail

    def times(self, count: int) -> Passes:
        """So many times as many."""
        return Passes(self.forward * count, self.gradient * count, self.tail * count)
