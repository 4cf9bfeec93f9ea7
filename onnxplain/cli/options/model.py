"""The model that a command gets, opened with everything that the options say about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxplain.cli.options.heads import StatedAnswers
from onnxplain.cli.options.preprocessing import StatedInput
from onnxplain.cli.output.sidecar_lines import print_problems
from onnxplain.machine.time_limit import DEFAULT_TIMEOUT, limit_runs

if TYPE_CHECKING:
    from onnxplain.runtime import Engine
    from onnxplain.runtime.sessions.precision import Precision

model_argument = click.argument("path", metavar="MODEL.onnx")
sidecar_option = click.option(
    "--no-sidecar",
    is_flag=True,
    help="Do not read labels, preprocessing and input size from other tools' metadata in MODEL, or from their files "
    "beside it (config.json, preprocessor_config.json, inference.yml, labels.txt …).",
)
provider_option = click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME[:DEVICE][,OPTION=VALUE…]",
    help="Execution provider of ONNX Runtime: cpu, cuda, cuda:1, tensorrt,cache=FOLDER, openvino:GPU … (`onnxplain "
    "doctor` lists them). Several are tried in this order. Default: cuda if it is available, then cpu.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="bfloat16 is faster but less exact. It is available with openvino, and with cpu on ARM64 processors.",
)


def _limit_runs(ctx: click.Context, _: click.Parameter, seconds: float) -> None:
    ctx.with_resource(limit_runs(seconds))


timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, max=10**6),
    default=DEFAULT_TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    callback=_limit_runs,
    expose_value=False,
    help="Give up if one run of the model takes longer. 0: no limit.",
)


@dataclass(frozen=True)
class ModelArguments:
    """The model's file, how to run it, and the options that replace metadata of the file."""

    path: str | Path
    providers: tuple[str, ...] = ()
    precision: Precision = "float32"
    stated: StatedInput = field(default_factory=StatedInput)
    no_sidecar: bool = False
    answers: StatedAnswers = field(default_factory=StatedAnswers)
    detector: str | None = None

    def open(self) -> Engine:
        """The engine for the file; the given options replace its metadata. Prints what sidecars say in vain."""
        engine = self.open_quietly()
        print_problems(engine.sidecars)
        return engine

    def open_quietly(self) -> Engine:
        """As `open`, without a word."""
        from onnxplain.runtime import Engine

        return Engine(
            self.path,
            self.providers or None,
            precision=self.precision,
            preprocessing=self.stated.parts,
            input_size_hw=self.stated.size,
            layout=self.stated.layout,
            labels=self.answers.labels,
            sidecars=not self.no_sidecar,
            heads=self.answers.heads,
            inputs=self.answers.read_inputs(),
            detector=self.detector,
        )
