"""Modules that return several tensors: names of heads, kinds, and what is compared with torch.autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from onnxplain.errors import VerificationError
from onnxplain.exporters import export
from onnxplain.exporters.pytorch import module_gradients
from tests.exporters.heads.networks import SIDE, Answers, HeadNet, SmallUNet


class Returning(nn.Module):
    """A network whose answers are returned in some form."""

    def __init__(self, network: type[nn.Module], form: Callable[[Answers], Any]) -> None:
        super().__init__()
        self.network, self.form = network(lambda raw: []), form

    def forward(self, image: torch.Tensor) -> Any:
        return self.form(self.network.raw(image))


Row = tuple[type[nn.Module], Callable[[Answers], Any], Mapping[str, Any], Sequence[str], str]
FORMS: Mapping[str, Row] = {
    "a dictionary": (
        HeadNet,
        lambda raw: {
            "age": raw["value"],
            "kind": raw["classes"],
            "face": functional.normalize(raw["vector"]),
            "no": None,
        },
        {"labels": {"kind": list("abcde")}},
        ["kind classes 5", "age values 1", "face embedding 16"],
        "torch.autograd",
    ),
    "a tuple": (
        HeadNet,
        lambda raw: (raw["numbers"], raw["classes"]),
        {"heads": ["output_0:values", "output_0"]},
        ["output_0 values 3", "output_1 classes 5"],
        "torch.autograd",
    ),
    "a mask": (
        SmallUNet,
        lambda raw: raw["mask"],
        {"heads": ["logits:mask"]},
        ["logits mask 4"],
        "torch.autograd",
    ),
    # The module does not return the logits, so torch.autograd has nothing to differentiate.
    "scores alone": (
        HeadNet,
        lambda raw: [torch.sigmoid(raw["labels"])],
        {"labels": [f"label {index}" for index in range(14)]},
        ["output_0 labels 14"],
        "float64 differences",
    ),
}


@pytest.mark.parametrize(("network", "form", "options", "heads", "reference"), FORMS.values(), ids=FORMS.keys())
def test_forms_of_answers(
    network: type[nn.Module],
    form: Callable[[Answers], Any],
    options: Mapping[str, Any],
    heads: Sequence[str],
    reference: str,
    tmp_path: Path,
) -> None:
    report = export(Returning(network, form), tmp_path / "out.onnx", input_size_hw=(SIDE, SIDE), **options)
    assert [f"{head.name} {head.kind} {head.size}" for head in report.spec.heads] == list(heads)
    assert [check.reference for check in report.checks.layers] == [reference]
    assert bool(report.spec.head.labels) == ("labels" in options)


def test_a_gradient_that_differs_from_the_modules_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = module_gradients.gradients
    monkeypatch.setattr(module_gradients, "gradients", lambda *args: [2 * each for each in gradients(*args)])
    with pytest.raises(VerificationError, match=r"'gradient agrees with torch.autograd' failed at layer"):
        export(
            Returning(HeadNet, lambda raw: {"a": raw["value"], "b": raw["classes"]}),
            tmp_path / "out.onnx",
            input_size_hw=(SIDE, SIDE),
        )
    assert not list(tmp_path.iterdir())
