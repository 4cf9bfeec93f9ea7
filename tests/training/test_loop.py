from __future__ import annotations

import copy
import itertools

import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("sklearn", reason="needs the train extra")
pytest.importorskip("skimage", reason="needs the train extra")

import torch

from onnxplain.data.digits.scenes import DigitScenes
from onnxplain.errors import OnnxplainError
from onnxplain.training.digits import build_digits_localizer, score_digits, train_batch
from onnxplain.training.localizer import Localizer, LocalizerConfig
from onnxplain.training.loop import LoopState, TrainingProgress, fit
from onnxplain.training.loop_config import LoopConfig
from onnxplain.training.score import LocalizationScore
from onnxplain.training.step import TrainBatch


def scores(*qualities: float) -> object:
    """A validation function that gives these qualities, one per epoch."""
    values = iter(qualities)
    return lambda module: LocalizationScore(0.5, 0.5, next(values), 1)


def random_batches(seed: int, steps: int) -> list[TrainBatch]:
    generator = torch.Generator().manual_seed(seed)
    return [
        TrainBatch(
            torch.randn(4, 3, 64, 64, generator=generator),
            torch.randint(10, (4,), generator=generator),
            torch.rand(4, 4, generator=generator),
        )
        for _ in range(steps)
    ]


def test_eight_images_are_learnt_by_heart() -> None:
    records = list(DigitScenes("train", 8))
    batch = train_batch(records, (64, 64))
    module, last = build_digits_localizer(), []
    config = LoopConfig(epochs=1, steps=120, learning_rate=5e-3, weight_decay=0.0)

    fit(
        module,
        lambda epoch: itertools.repeat(batch, config.steps),
        lambda trained: score_digits(trained, records),
        config,
        on_best=last.append,
    )

    with torch.inference_mode():
        logits, _ = module.eval()(batch.images)
        assert torch.nn.functional.cross_entropy(logits, batch.truths) < 0.02
    assert last[-1].accuracy == 1
    assert last[-1].mean_iou > 0.9


def test_the_best_epoch_is_kept_not_the_last() -> None:
    kept: list[LocalizationScore] = []
    config = LoopConfig(epochs=4, steps=1)

    best = fit(
        build_digits_localizer(),
        lambda epoch: random_batches(epoch, 1),
        scores(0.2, 0.6, 0.6, 0.4),
        config,
        on_best=kept.append,
    )

    assert [score.quality for score in kept] == [0.2, 0.6]
    assert best == kept[-1]


def test_progress_counts_every_step_and_averages_over_the_epoch() -> None:
    seen: list[TrainingProgress] = []
    fit(
        build_digits_localizer(),
        lambda epoch: random_batches(epoch, 3),
        scores(0.1, 0.2),
        LoopConfig(epochs=2, steps=3),
        on_best=lambda score: None,
        progress=seen.append,
    )

    assert [(p.epoch, p.step) for p in seen] == [(e, s) for e in (1, 2) for s in (1, 2, 3)]
    assert all((p.epochs, p.steps) == (2, 3) for p in seen)
    assert [p.validation.quality if p.validation else None for p in seen] == [None, None, 0.1, None, None, 0.2]
    assert all(p.loss > 0 and 0 <= p.accuracy <= 1 and 0 <= p.mean_iou <= 1 for p in seen)


def trained_weights(seed: int) -> Localizer:
    module = build_digits_localizer(seed)
    fit(
        module,
        lambda epoch: random_batches(epoch, 2),
        scores(0.1),
        LoopConfig(epochs=1, steps=2),
        on_best=lambda score: None,
    )
    return module


def test_training_repeats_and_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    first, again = trained_weights(0), trained_weights(0)

    assert torch.equal(before, torch.random.get_rng_state())
    for one, two in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    (batch,) = random_batches(0, 1)
    broken = batch._replace(images=batch.images * float("inf"))
    with pytest.raises(OnnxplainError, match="the loss became nan: lower the learning rate"):
        fit(
            build_digits_localizer(),
            lambda epoch: [broken],
            scores(0.1),
            LoopConfig(epochs=1, steps=1),
            on_best=lambda score: None,
        )


@pytest.mark.parametrize("numbers", [(0, 5), (5, 0)])
def test_nothing_to_do_is_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(OnnxplainError, match="expected at least 1"):
        LoopConfig(*numbers)


def test_states_come_before_the_first_epoch_and_after_each() -> None:
    seen: list[int] = []
    fit(
        build_digits_localizer(),
        lambda epoch: random_batches(epoch, 1),
        scores(0.1, 0.2),
        LoopConfig(epochs=2, steps=1),
        on_best=lambda score: None,
        on_state=lambda state: seen.append(len(state.scores)),
    )
    assert seen == [0, 1, 2]


class StopError(Exception):
    pass


@pytest.mark.parametrize("stop_after", [0, 1, 2])
def test_a_training_that_goes_on_from_a_state_ends_like_one_that_never_stopped(stop_after: int) -> None:
    """Weights, scores and what was kept; with dropout, which draws from the global random state."""
    config = LoopConfig(epochs=3, steps=2)

    def train(resume: LoopState | None = None, stop_after: int | None = None) -> tuple[Localizer, list[float]]:
        module = build_digits_localizer()
        module.features.append(torch.nn.Dropout(0.5))
        kept: list[float] = []
        qualities = [0.3, 0.1, 0.4][0 if resume is None else len(resume.scores) :]

        def on_state(state: LoopState) -> None:
            if len(state.scores) == stop_after:
                states.append(copy.deepcopy(state))
                raise StopError

        fit(
            module,
            lambda epoch: random_batches(epoch, 2),
            scores(*qualities),
            config,
            on_best=lambda score: kept.append(score.quality),
            on_state=on_state,
            resume=resume,
        )
        return module, kept

    states: list[LoopState] = []
    whole, kept = train()
    with pytest.raises(StopError):
        train(stop_after=stop_after)
    torch.manual_seed(stop_after)
    resumed, kept_later = train(resume=states[0])

    assert kept == [0.3, 0.4]
    assert kept_later == (kept if stop_after == 0 else [0.4])
    for one, two in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_a_state_of_another_network_is_refused() -> None:
    state = LoopState((), {"weight": torch.zeros(1)}, {}, {})
    with pytest.raises(OnnxplainError, match="does not fit the network"):
        fit(
            build_digits_localizer(),
            lambda epoch: random_batches(epoch, 1),
            scores(0.1),
            LoopConfig(epochs=1, steps=1),
            on_best=lambda score: None,
            resume=state,
        )


def test_labels_alone_have_no_overlap() -> None:
    seen: list[TrainingProgress] = []
    module = Localizer(LocalizerConfig(classes=10, box_channels=0))
    fit(
        module,
        lambda epoch: [batch._replace(boxes=None) for batch in random_batches(epoch, 2)],
        scores(0.1),
        LoopConfig(epochs=1, steps=2),
        on_best=lambda score: None,
        progress=seen.append,
    )
    assert [progress.mean_iou for progress in seen] == [None, None]
    assert all(progress.loss > 0 for progress in seen)
