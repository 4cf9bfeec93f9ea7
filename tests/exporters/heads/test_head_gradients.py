"""The gradient of every kind of head against torch.autograd in float64, in files of both of torch's exporters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.nn import functional

from onnxplain.contract import ModelSpec
from onnxplain.exporters import instrument
from tests.exporters.graphs import relative_error
from tests.exporters.heads.networks import SIDE, Answers, Asked, FullyConvolutional, HeadNet, SmallUNet, gradient, write

RNG = np.random.default_rng(7)
REFERENCE = RNG.normal(size=16).astype(np.float32)
PART = RNG.random((SIDE, SIDE)) < 0.2
WHOLE = np.ones((SIDE, SIDE), bool)


@dataclass(frozen=True)
class Case:
    """A network, what its file returns and states, and what is asked of it: target and entry.

    `kinds` are those of the heads in the order of the targets. `dynamo`: also written by torch's newer exporter, which
    takes seconds; these cases hold every kind.
    """

    finish: Callable[[Answers], Sequence[torch.Tensor]]
    names: Sequence[str]
    kinds: Sequence[str]
    asked: Mapping[int, Asked]
    network: type[nn.Module] = HeadNet
    heads: Sequence[str] = ()
    dynamo: bool = False


CASES = {
    "labels behind a sigmoid": Case(
        lambda raw: [torch.sigmoid(raw["labels"])],
        ["p"],
        ["labels"],
        {target: Asked("labels", target) for target in range(14)},
    ),
    "one label behind a sigmoid": Case(
        lambda raw: [torch.sigmoid(raw["value"])], ["p"], ["labels"], {0: Asked("value", 0)}
    ),
    "one number": Case(lambda raw: [raw["value"]], ["age"], ["values"], {0: Asked("value", 0)}),
    "one number [N]": Case(lambda raw: [raw["value"][:, 0]], ["age"], ["values"], {0: Asked("value", 0)}),
    "several numbers": Case(
        lambda raw: [raw["numbers"]],
        ["angles"],
        ["values"],
        {target: Asked("numbers", target) for target in range(3)},
        heads=["angles:values"],
    ),
    "two heads": Case(
        lambda raw: [raw["value"], raw["classes"]],
        ["age", "kind"],
        ["classes", "values"],
        {0: Asked("classes", 0), 4: Asked("classes", 4), 5: Asked("value", 0)},
    ),
    "an embedding": Case(
        lambda raw: [functional.normalize(raw["vector"])],
        ["e"],
        ["embedding"],
        {0: Asked("vector", 0, reference=REFERENCE)},
    ),
    "every kind of number at once": Case(
        lambda raw: [
            functional.normalize(raw["vector"]),
            torch.softmax(raw["classes"], 1),
            torch.sigmoid(raw["labels"]),
            raw["numbers"],
            torch.sigmoid(raw["value"]),
        ],
        ["e", "kind", "traits", "angles", "yes"],
        ["classes", "embedding", "labels", "values", "labels"],
        {
            4: Asked("classes", 4),
            5: Asked("vector", 0, reference=REFERENCE),
            6: Asked("labels", 0),
            19: Asked("labels", 13),
            22: Asked("numbers", 2),
            23: Asked("value", 0),
        },
        heads=["angles:values"],
        dynamo=True,
    ),
    "a U-Net": Case(
        lambda raw: [torch.softmax(raw["mask"], 1)],
        ["m"],
        ["mask"],
        {1: Asked("mask", 1, region=WHOLE), 3: Asked("mask", 3, region=PART)},
        SmallUNet,
        dynamo=True,
    ),
    "a U-Net, classes last": Case(
        lambda raw: [torch.softmax(raw["mask"].permute(0, 2, 3, 1), -1)],
        ["m"],
        ["mask"],
        {1: Asked("mask", 1, region=PART)},
        SmallUNet,
    ),
    "a fully convolutional network": Case(
        lambda raw: [raw["mask"]],
        ["m"],
        ["mask"],
        {0: Asked("mask", 0, region=WHOLE), 2: Asked("mask", 2, region=PART)},
        FullyConvolutional,
        heads=["m:mask"],
        dynamo=True,
    ),
}


def feeds_of(asked: Asked, target: int, image: np.ndarray) -> dict[str, np.ndarray]:
    feeds: dict[str, Any] = {"image": image, "target": np.array([target]), "explain": np.array([True])}
    if asked.reference is not None:
        feeds["reference"] = asked.reference[None]
    if asked.region is not None:
        feeds["region"] = asked.region[None, None].astype(np.float32)
    return feeds


WRITTEN = [(name, dynamo) for name, case in CASES.items() for dynamo in (False, True) if case.dynamo or not dynamo]


@pytest.mark.parametrize(("name", "dynamo"), WRITTEN)
def test_the_gradient_of(name: str, dynamo: bool, tmp_path: Path) -> None:
    case = CASES[name]
    module = case.network(case.finish).eval()
    proto = write(module, case.names, dynamo)
    onnx.save(proto, tmp_path / "plain.onnx")
    report = instrument(tmp_path / "plain.onnx", tmp_path / "out.onnx", heads=case.heads)
    spec = report.spec
    assert [head.kind for head in spec.heads] == case.kinds
    assert not report.unused
    assert ModelSpec.from_json(spec.to_json()) == spec
    session = ort.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
    (layer,) = spec.layers
    image = np.random.default_rng(3).random((2, 3, SIDE, SIDE)).astype(np.float32)
    with torch.no_grad():
        raw = {key: value.numpy() for key, value in module.raw(torch.tensor(image)).items()}
    for target, asked in case.asked.items():
        head = spec.numbering.entry(target).head
        features, found, answer = session.run(
            [layer.features, layer.gradients, head.logits], feeds_of(asked, target, image)
        )
        expected = gradient(module, image, features, asked)
        assert np.count_nonzero(expected)
        assert relative_error(found, expected) < 1e-4
        value = (
            raw[asked.head] if head.kind != "embedding" else functional.normalize(torch.tensor(raw["vector"])).numpy()
        )
        assert relative_error(answer, value) < 1e-5
