"""Ctrl-C as a real signal: where it strikes RISE, the map so far is kept."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from onnxplain.explainers import RISE
from onnxplain.explainers.held_interrupt import hold_interrupts
from onnxplain.explainers.rise.sampling_report import FEWEST_MASKS
from tests.explainers.synthetic import WHITE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signal to itself")


@pytest.fixture(autouse=True)
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def score(batch):
    return np.stack([batch.mean(axis=(1, 2, 3)), batch[:, 0].mean(axis=(1, 2))], axis=1) / 255


# Where a press strikes: what is patched, at which call, and the number of masks in the map.
PLACES = {
    "in the sums, inside numpy": ("onnxplain.explainers.rise.mask_sums.MaskSums.add", 3, None),
    "while masks are drawn": ("onnxplain.explainers.rise.samplers.MaskSampler.draw", 1, None),
    "while the map is computed": ("onnxplain.explainers.rise.map_estimate.MapEstimator.mean_and_estimates", 1, 200),
    "at the end of sampling": ("onnxplain.explainers.rise.sampling.RiseSampling.explain", 1, 200),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_press_anywhere_keeps_the_map(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    target, call, masks = PLACES[place]
    module, owner, name = target.rsplit(".", 2)
    holder = getattr(importlib.import_module(module), owner)
    holders = [each for each in (holder, *holder.__subclasses__()) if name in vars(each)]
    calls = []
    for each in holders:
        whole = vars(each)[name]

        def struck(*arguments, _whole=whole, **more):
            calls.append(name)
            if len(calls) == call:
                press()
            return _whole(*arguments, **more)

        monkeypatch.setattr(each, name, struck)
    rise = RISE(score, (32, 32), masks=200, batch_size=8)
    if masks is None:
        explanation = rise(WHITE, 0)
        assert explanation.report.stopped == "interrupted"
        assert explanation.report.masks < 200
    else:
        # Nothing was left to stop, so the press is raised once the map exists; an outer hold keeps the map.
        kept = []
        with pytest.raises(KeyboardInterrupt), hold_interrupts():
            kept.append(rise(WHITE, 0))
        assert (kept[0].report.stopped, kept[0].report.masks) == ("masks", masks)


def test_a_press_is_raised_at_the_end_unless_it_was_taken() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), hold_interrupts(), hold_interrupts():
        press()
        done.append("work")
    with hold_interrupts() as held:
        press()
        assert held.take()
        done.append("more")
    assert done == ["work", "more"]


def test_the_third_press_does_not_wait() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), hold_interrupts() as held:
        for number in range(5):
            press()
            held.take()
            done.append(number)
    assert done == [0, 1]


def test_other_threads_and_foreign_handlers_are_left_alone() -> None:
    def own(*_: object) -> None: ...

    signal.signal(signal.SIGINT, own)
    with hold_interrupts():
        assert signal.getsignal(signal.SIGINT) is own
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found = []

    def look() -> None:
        with hold_interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


@pytest.mark.parametrize(("masks", "caution"), [(1, "only 1 mask"), (63, "only 63 masks"), (64, ""), (200, "")])
def test_a_map_of_a_handful_of_masks_says_so(masks: int, caution: str) -> None:
    assert FEWEST_MASKS == 64
    assert RISE(score, (32, 32), masks=masks)(WHITE, 0).report.caution == caution
