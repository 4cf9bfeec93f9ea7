"""The report of an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onnxplain.contract import ModelSpec, UnusedOutput
from onnxplain.exporters.checks.report import Checks
from onnxplain.exporters.checks.saturation import Saturation
from onnxplain.exporters.writing.verdicts import CamVerdict, TailVerdict
from onnxplain.sidecars import SidecarFacts


@dataclass(frozen=True)
class ExportReport:
    """The written file, its contents, and the results of its checks.

    `cam` says whether class activation maps are available, `tail` whether there is a tail file. Each is true or false
    as a condition; its text gives the reason.

    `steps` lists the changes to the file as found (opset, batch, input size …). The check of the outputs covers all of
    them. `notes` lists what could not be done. `saturation`: the error of a quantized file on this machine's processor;
    None on processors whose integer products are exact, and for weights that cannot saturate.
    `read`: what other tools say about the model, as far as it fits, and what was found but not used.
    `unused`: outputs of the model that are no head, and why.
    """

    path: Path
    spec: ModelSpec
    cam: CamVerdict
    tail: TailVerdict
    checks: Checks
    steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    saturation: Saturation | None = None
    read: SidecarFacts = field(default_factory=SidecarFacts)
    unused: tuple[UnusedOutput, ...] = ()
