"""Questions as plain data: what they say, that they survive a pickle, and what is refused before any image."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.explainers import METHODS, supported
from onnxplain.explanations.questions import Question, plan_questions

OPTIONS = {"masks": 20, "seed": 3, "fill": (9.0, 0.0, 2.5), "samples": 2, "noise": None, "copies": 3, "layer": "coarse"}
FUSED = {"layer": ("fine", "coarse")}


def plan(engine, methods, targets=(), options=None) -> tuple[Question, ...]:
    return plan_questions(engine, methods, targets, options or {})


def test_a_pickled_question_gives_the_same_map(engine, photo):
    for name, options in [*((name, OPTIONS) for name in supported(engine)), ("grad-cam", FUSED)]:
        taken = {key: value for key, value in options.items() if key in METHODS[name].options and value is not None}
        (question,) = plan(engine, [name], ["one"], taken)
        again = pickle.loads(pickle.dumps(question))
        assert again == question
        assert hash(again) == hash(question)
        assert dict(question.options) == taken
        expected = METHODS[name].build(engine, **taken)(photo, "one")
        found = again.build(engine)(photo, again.target)
        np.testing.assert_array_equal(found.heatmap, expected.heatmap)
        assert found.target == expected.target == question.target


def test_a_question_is_plain_frozen_data(engine):
    (question,) = plan(engine, ["rise"], ["one"], {"masks": 20, "seed": 3, "fill": (9.0, 0.0, 2.5), "noise": None})
    with pytest.raises(dataclasses.FrozenInstanceError):
        question.target = 2
    assert json.loads(json.dumps(dataclasses.asdict(question))) == {
        "method": "rise",
        "target": 1,
        "target_text": "one",
        "options": [["masks", 20], ["seed", 3], ["fill", [9.0, 0.0, 2.5]]],
        "suffix": ".rise",
        "title": "rise",
    }


def test_a_list_among_the_options_becomes_a_tuple(engine):
    (question,) = plan(engine, ["grad-cam"], (), {"layer": ["fine", "coarse"]})
    assert question.options == (("layer", ("fine", "coarse")),)
    assert {question: 1}[question] == 1


def test_an_option_goes_to_the_methods_that_take_it(engine):
    first, second = plan(engine, ["grad-cam", "rise"], (), {"masks": 3, "layer": "fine"})
    assert (first.options, second.options) == ((("layer", "fine"),), (("masks", 3),))


@pytest.mark.parametrize(("method", "calls"), [("rise", True), ("grad-cam", False)])
def test_progress_is_given_when_the_explainer_is_built(method, calls, engine, photo):
    (question,) = plan(engine, [method], (), {"masks": 20, "batch_size": 10} if calls else {})
    shares: list[tuple[int, int]] = []
    question.build(engine, lambda done, total: shares.append((done, total)))(photo)
    assert bool(shares) == calls
    assert not calls or shares[-1][0] == shares[-1][1]


@pytest.mark.parametrize(
    ("methods", "targets", "expected"),
    [
        # (target, text, suffix, title) of each question
        (["cam"], [], [(None, "", ".cam", "cam")]),
        (["cam", "cam"], ["1", "one"], [(1, "1", ".cam", "cam")]),
        (
            ["cam", "rise"],
            ["one", "3"],
            [
                (1, "one", ".cam.one", "cam: one"),
                (1, "one", ".rise.one", "rise: one"),
                (4, "3", ".cam.3", "cam: 3"),
                (4, "3", ".rise.3", "rise: 3"),
            ],
        ),
        (
            ["grad-cam"],
            ["box:0", "one"],
            [(5, "box:0", ".grad-cam.box-0", "grad-cam: box:0"), (1, "one", ".grad-cam.one", "grad-cam: one")],
        ),
    ],
)
def test_every_method_with_every_target(methods, targets, expected, engine):
    found = plan(engine, methods, targets)
    assert [(each.target, each.target_text, each.suffix, each.title) for each in found] == expected


def test_questions_that_differ_in_the_target_share_an_explainer(engine):
    first, second = plan(engine, ["rise"], ["one", "3"], {"masks": 20})
    (other,) = plan(engine, ["rise"], ["one"], {"masks": 30})
    assert first.explainer_key == second.explainer_key
    assert first.explainer_key != other.explainer_key


@pytest.mark.parametrize(
    ("methods", "targets", "options", "said"),
    [
        (["grad-kam"], [], {}, "did you mean grad-cam"),
        (["recipro-cam"], [], {}, "needs a tail file"),
        (["cam"], ["elephant"], {}, "elephant"),
        (["grad-cam", "cam"], ["box:0"], {}, "cam: found target box:0"),
        (["grad-cam"], [], {"layer": "nonsense"}, "nonsense"),
        (["rise"], [], {"fill": "pink"}, "pink"),
        (["grad-cam", "cam"], [], {"masks": 3}, r"option masks: found for grad-cam, cam, expected .* \(rise\)"),
        (["rise"], [], {"layer": "coarse"}, r"option layer: found for rise, expected a method that takes it \(cam, "),
        (["rise"], [], {"depth": 3}, "option depth: found for rise, expected an option that a method takes"),
    ],
)
def test_refused_before_the_first_image(methods, targets, options, said, engine):
    with pytest.raises(OnnxplainError, match=said):
        plan(engine, methods, targets, options)
