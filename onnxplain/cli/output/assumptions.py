"""The warning about what is assumed of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from onnxplain.cli.output.describe import describe_part

if TYPE_CHECKING:
    from onnxplain.contract import InputSpec
    from onnxplain.contract.detectors import DetectorSpec


def warn_assumed(source: InputSpec, echo: Callable[..., None], detector: DetectorSpec | None = None) -> None:
    """One line on standard error if a part of the preprocessing is assumed: which, as what, and how to state it.

    `detector`: for a detector, whose family it is that usually has these.
    """
    assumed = source.origins.assumed
    if not assumed:
        return
    parts = ", ".join(describe_part(source.preprocessing, part) for part in assumed)
    numbers = {"scale", "mean", "std"} <= set(assumed)
    options = ", ".join((["--preset"] if numbers else []) + [f"--{part}" for part in assumed])
    if detector is not None:
        echo(
            f"onnxplain: warning: parts of the preprocessing are assumed, as {detector.layout_name} usually has them, "
            f"so boxes and labels can be wrong: {parts}: state them with {options}",
            err=True,
        )
        return
    echo(
        f"onnxplain: warning: parts of the preprocessing are assumed, so labels can be wrong: {parts}: state them with "
        f"{options}; `onnxplain inspect --try IMAGE` compares presets",
        err=True,
    )
