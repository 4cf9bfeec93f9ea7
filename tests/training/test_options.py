from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from onnxplain.errors import OnnxplainError
from onnxplain.training.options import TrainingOptions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"supervision": "masks"}, "supervision: found 'masks', expected boxes or labels"),
        ({"box_loss": "l1"}, "box_loss: found 'l1', expected l2 or smooth-l1"),
        ({"backbone": "resnet"}, "expected small"),
        ({"size_hw": (100, 96)}, "100x96, expected multiples of 8"),
        ({"epochs": 0}, "found 0 epochs"),
        ({"batch_size": 0}, "batches of 0"),
        ({"seed": -1}, "seed -1"),
        ({"learning_rate": 0.0}, "expected a rate above 0"),
        ({"learning_rate": float("nan")}, "expected a rate above 0"),
        ({"box_weight": -1.0}, "box weight -1"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(OnnxplainError, match=message):
        TrainingOptions(**arguments)


def test_labels_alone_have_no_box_head() -> None:
    assert TrainingOptions(supervision="labels").localizer(3).box_channels == 0
    assert TrainingOptions().localizer(3).box_channels > 0
