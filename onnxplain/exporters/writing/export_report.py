"""What an export did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxplain.contract import ModelSpec
from onnxplain.exporters.checks.report import Checks
from onnxplain.exporters.checks.saturation import Saturation
from onnxplain.exporters.writing.verdicts import CamVerdict, TailVerdict


@dataclass(frozen=True)
class ExportReport:
    """The file that was written, what it contains, and its checks.

    `cam` and `tail` say whether class activation maps apply and whether there is a tail file, each with its reason:
    true or false as a condition, words as text.

    `steps` names what was changed of the file as found (opset, batch, input size …); all of it is covered by the
    check of the outputs. `notes` names what could not be done. `saturation`: how far a quantized file is off on this
    machine's processor; None on processors that multiply exactly, and for weights that cannot saturate.
    """

    path: Path
    spec: ModelSpec
    cam: CamVerdict
    tail: TailVerdict
    checks: Checks
    steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    saturation: Saturation | None = None
