from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch

from onnxplain.training.loss import (
    SMOOTH_L1_BETA,
    localization_loss,
    multi_label_loss,
    number_loss,
)

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]])
CLASSES = np.array([0, 2])
BOXES = np.array([[0.5, 0.5, 0.4, 0.2], [0.1, 0.2, 0.3, 0.4]])
TARGETS = np.array([[0.2, 0.9, 0.4, 0.2], [0.1, 0.2, 0.3, 0.6]])
WEIGHT = 2.5


def by_hand() -> tuple[float, float, np.ndarray, np.ndarray]:
    """Label term, box term, and the gradients of their weighted sum by the closed forms."""
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    label = float(-np.log(probabilities[[0, 1], CLASSES]).mean())
    distances = np.sqrt(((BOXES - TARGETS) ** 2).sum(axis=1))
    logits_gradient = (probabilities - np.eye(3)[CLASSES]) / len(LOGITS)
    boxes_gradient = WEIGHT * (BOXES - TARGETS) / distances[:, None] / len(BOXES)
    return label, float(distances.mean()), logits_gradient, boxes_gradient


def test_loss_and_gradients_equal_the_closed_forms() -> None:
    logits = torch.tensor(LOGITS, requires_grad=True)
    boxes = torch.tensor(BOXES, requires_grad=True)
    loss = localization_loss(logits, boxes, torch.tensor(CLASSES), torch.tensor(TARGETS), WEIGHT)
    loss.total.backward()

    label, box, logits_gradient, boxes_gradient = by_hand()
    assert box == pytest.approx((0.5 + 0.2) / 2)  # a 3-4-5 triangle, and one coordinate off by 0.2
    assert loss.label.item() == pytest.approx(label, rel=1e-12)
    assert loss.box.item() == pytest.approx(box, rel=1e-12)
    assert loss.total.item() == pytest.approx(label + WEIGHT * box, rel=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), logits_gradient, rtol=1e-12)
    np.testing.assert_allclose(boxes.grad.numpy(), boxes_gradient, rtol=1e-12)


def test_the_distance_is_not_squared() -> None:
    logits, classes = torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)
    near, far = (
        localization_loss(logits, torch.full((1, 4), shift), classes, torch.zeros(1, 4)).box.item()
        for shift in (0.1, 0.2)
    )
    assert far == pytest.approx(2 * near)


def test_the_gradient_is_zero_and_finite_where_a_box_is_exact() -> None:
    boxes = torch.tensor(TARGETS, requires_grad=True)
    logits = torch.tensor(LOGITS, requires_grad=True)
    localization_loss(logits, boxes, torch.tensor(CLASSES), torch.tensor(TARGETS)).total.backward()

    assert (boxes.grad == 0).all()
    assert torch.isfinite(logits.grad).all()


def test_smooth_l1_and_its_gradient_equal_the_closed_form() -> None:
    """Differences of 0.3, -0.4 are linear, one of -0.05 quadratic."""
    found = np.array([[0.5, 0.5, 0.4, 0.2], [0.1, 0.2, 0.3, 0.55]])
    differences = found - TARGETS
    assert np.sort(np.abs(differences).ravel()[differences.ravel() != 0]) == pytest.approx([0.05, 0.3, 0.4])
    near = np.abs(differences) < SMOOTH_L1_BETA
    terms = np.where(near, differences**2 / (2 * SMOOTH_L1_BETA), np.abs(differences) - SMOOTH_L1_BETA / 2)
    boxes = torch.tensor(found, requires_grad=True)
    logits, classes = torch.tensor(LOGITS), torch.tensor(CLASSES)
    loss = localization_loss(logits, boxes, classes, torch.tensor(TARGETS), WEIGHT, "smooth-l1")
    loss.total.backward()

    assert loss.box.item() == pytest.approx(terms.sum() / 2, rel=1e-12)
    assert loss.total.item() == pytest.approx(loss.label.item() + WEIGHT * terms.sum() / 2, rel=1e-12)
    gradient = WEIGHT * np.where(near, differences / SMOOTH_L1_BETA, np.sign(differences)) / 2
    np.testing.assert_allclose(boxes.grad.numpy(), gradient, rtol=1e-9)


def test_multi_label_loss_and_its_gradient_equal_the_closed_form() -> None:
    """−[t · log p + (1 − t) · log(1 − p)] with p = sigmoid(z); its gradient is p − t."""
    values, truths = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]]), np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    logits = torch.tensor(values, requires_grad=True)
    loss = multi_label_loss(logits, torch.tensor(truths))
    loss.backward()

    shown = 1 / (1 + np.exp(-values))
    terms = -(truths * np.log(shown) + (1 - truths) * np.log(1 - shown))
    assert loss.item() == pytest.approx(terms.mean(), rel=1e-12)
    np.testing.assert_allclose(logits.grad.numpy(), (shown - truths) / terms.size, rtol=1e-12)


def test_multi_label_loss_does_not_overflow() -> None:
    logits = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    loss = multi_label_loss(logits, torch.tensor([[0.0, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(500)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("kind", ["huber", "squared"])
def test_number_loss_and_its_gradient_equal_the_closed_form(kind: str) -> None:
    """In units of the scale, 4: differences of 0.5, −0.25 are quadratic for Huber, 3 is linear."""
    scale = 4.0
    truths, differences = np.array([[30.0], [50.0], [20.0]]), np.array([[0.5], [-0.25], [3.0]])
    values = torch.tensor(truths + scale * differences, requires_grad=True)
    loss = number_loss(values, torch.tensor(truths), torch.tensor([scale], dtype=torch.float64), kind)
    loss.backward()

    if kind == "squared":
        terms, slopes = differences**2, 2 * differences
    else:
        near = np.abs(differences) < 1
        terms = np.where(near, differences**2 / 2, np.abs(differences) - 0.5)
        slopes = np.where(near, differences, np.sign(differences))
    assert loss.item() == pytest.approx(terms.mean(), rel=1e-12)
    np.testing.assert_allclose(values.grad.numpy(), slopes / scale / 3, rtol=1e-12)
