"""The questions of the study: an image, the class to explain, and the true boxes of that class."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from benchmarks.studies.methods.models import StudyModel
from benchmarks.studies.wsol import make_mosaics, read_examples
from benchmarks.subjects import ASSETS
from onnxplain import Engine, load_image
from onnxplain.data.digits.scenes import DIGIT_LABELS, DigitScenes

# A named object is explained if the model finds it at least this likely.
LIKELY = 0.1
# Beside the photos of pointing.json; no boxes are known for these.
MORE_PHOTOS = ("coral_owl.jpg", "winml_kitten.png")
SCENES, MOSAICS = 20, 16


@dataclass(frozen=True, eq=False)
class Question:
    """`image`: uint8 (H, W, 3) RGB; `boxes_xyxy`: float (M, 4) in its pixels, M ≥ 0.

    `number`: its position in its list. `curves`: whether insertion and deletion are measured.
    """

    name: str
    number: int
    image: np.ndarray
    target: int
    boxes_xyxy: np.ndarray
    curves: bool = True


def main_questions(model: StudyModel, engine: Engine) -> list[Question]:
    """Ten photos, or twenty digit scenes of the test split."""
    return _scenes() if model.first_class is None else _photos(model.first_class, engine)


def mosaic_questions(model: StudyModel, engine: Engine) -> list[Question]:
    """Four photos in one; the class that is predicted for one of them is explained. None for digits."""
    if model.first_class is None:
        return []
    mosaics = make_mosaics(engine, list(read_examples(MOSAICS)))
    return [
        Question(f"mosaic {number}", number, image, int(target or 0), boxes, curves=False)
        for number, (image, target, boxes) in enumerate(mosaics)
    ]


def _photos(first_class: int, engine: Engine) -> list[Question]:
    """Of the named objects of a photo, the likeliest class; the predicted class, without boxes, if none is likely."""
    scenes = json.loads((ASSETS / "images" / "pointing.json").read_text(encoding="utf-8"))
    objects = {scene["image"]: scene["objects"] for scene in scenes}
    questions = []
    for number, name in enumerate([*objects, *MORE_PHOTOS]):
        image = load_image(ASSETS / "images" / name)
        scores = engine.scores(engine.preprocess(image))[0]
        named = [(first_class + index, each["box"]) for each in objects.get(name, []) for index in each["classes"]]
        likely = [(target, box) for target, box in named if scores[target] >= LIKELY]
        if likely:
            target, box = max(likely, key=lambda pair: scores[pair[0]])
            questions.append(Question(name, number, image, target, np.array([box], np.float64)))
        else:
            questions.append(Question(name, number, image, int(scores.argmax()), np.zeros((0, 4))))
    return questions


def _scenes() -> list[Question]:
    return [
        Question(
            record.name, number, record.load(), DIGIT_LABELS.index(str(record.label)), record.boxes_xyxy.astype(float)
        )
        for number, record in enumerate(DigitScenes("test", SCENES))
    ]
