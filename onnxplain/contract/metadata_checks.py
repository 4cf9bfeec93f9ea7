"""Every value of the metadata: its type, its range, its length. A file may come from anywhere.

`METADATA` and `METADATA_1` have one row for each value in the JSON of `ModelSpec`. What values mean together, the
classes check.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from onnxplain.contract.expected import (
    LARGEST_SIDE,
    LONGEST_NAME,
    MOST_CHANNELS,
    Either,
    Expected,
    Fields,
    Flag,
    Listed,
    Maybe,
    Number,
    Text,
    Whole,
    shown,
)
from onnxplain.errors import OnnxplainError

MOST_CLASSES = 2**20
MOST_LAYERS = 2**12
MOST_HEADS = 2**8
MOST_TOKENS = 2**24
MOST_AXES = 8
MOST_VALUES = 2**20
# Of a detector: levels of candidates, groups of outputs, candidates of an image, outputs that are not read.
MOST_LEVELS = 16
MOST_GROUPS = 16
MOST_CANDIDATES = 2**24
MOST_IGNORED = 2**12
MOST_EVIDENCE = 16
LONGEST_LABEL = 1000
# It lists names and shapes of outputs.
LONGEST_EVIDENCE = 2**16
# What file systems allow.
LONGEST_FILE_NAME = 255

_LABELS = Listed(Text(LONGEST_LABEL), MOST_CLASSES)
_NAME = Text(LONGEST_NAME, least=1)
_WORD = Text(40)
_NUMBER = Number()
_SIDE = Whole(1, LARGEST_SIDE)
_PAIR = Listed(_NUMBER, 2, least=2)
_ORIGIN = Fields({"kind": _WORD}, {"source": Maybe(Text(LONGEST_NAME))})

_INPUT = Fields(
    {
        "name": _NAME,
        "layout": _WORD,
        "size_hw": Listed(_SIDE, 2, least=2),
        "channels": Either(_WORD, Whole(1, MOST_CHANNELS)),
        "scale": Number(nonzero=True),
        "mean": Listed(_NUMBER, MOST_CHANNELS, least=1),
        "std": Listed(Number(positive=True), MOST_CHANNELS, least=1),
        "resize": _WORD,
    },
    {
        "crop_share": Number(positive=True, most=1),
        "pixels": _WORD,
        "depth": Maybe(Whole(1)),
        "assumed": Flag(),
        "quantization": Fields({"scale": Number(positive=True), "zero_point": Whole(-128, 255), "dtype": _WORD}),
        "origins": Fields(
            {},
            dict.fromkeys(("channels", "scale", "mean", "std", "resize", "crop_share", "pixels", "depth"), _ORIGIN),
        ),
    },
    closed=False,
)
_BOX = Maybe(Fields({}, {"format": _WORD, "units": _WORD}))
_FRAME = Fields({"scale_hw": _PAIR, "offset_hw": _PAIR, "seen_hw": Listed(_PAIR, 2, least=2)})
_LAYERS = Listed(
    Fields(
        {
            "name": _NAME,
            "features": _NAME,
            "gradients": _NAME,
            "channels": Whole(1, 2**24),
            "size_hw": Listed(_SIDE, 2, least=2),
        },
        {
            "frame": Maybe(_FRAME),
            "many_targets": Flag(),
        },
    ),
    MOST_LAYERS,
)
_ATTENTION = Fields(
    {
        "layers": _LAYERS,
        "size_hw": Listed(_SIDE, 2, least=2),
        "tokens_before": Whole(0, MOST_TOKENS),
        "tokens_after": Whole(0, MOST_TOKENS),
        "frame": _FRAME,
        "reads": Listed(Maybe(Listed(Whole(0, MOST_TOKENS), 2, least=2)), MOST_HEADS),
    },
    {"layerwise": Flag()},
)
_HEAD = Fields(
    {"name": _NAME, "kind": _WORD, "size": Whole(1, MOST_CLASSES), "logits": Maybe(_NAME), "scores": Maybe(_NAME)},
    {
        "score_form": Fields({}, {"factor": Number(positive=True), "log": Flag(), "channels_last": Flag()}),
        "labels": _LABELS,
        "unit": Maybe(_WORD),
        "box": _BOX,
        "map_size_hw": Maybe(Listed(_SIDE, 2, least=2)),
        "sigmoid": Flag(),
        "evidence": Fields({"kind": _WORD}, {"source": Maybe(Text(LONGEST_NAME))}),
    },
)
_EXTRA_INPUT = Fields(
    {"name": _NAME, "dtype": _WORD, "shape": Listed(Maybe(Whole(0, 2**24)), MOST_AXES), "fill": _WORD},
    {"value": Maybe(Listed(Number(), MOST_VALUES))},
)
_DETECTOR = Fields(
    {"layout_name": _WORD, "outputs": Listed(Listed(_NAME, MOST_LEVELS), MOST_GROUPS, least=1)},
    {
        "classes": Maybe(Whole(1, MOST_CLASSES)),
        "candidates": Maybe(Whole(0, MOST_CANDIDATES)),
        "strides": Listed(_SIDE, MOST_LEVELS),
        "rest": Whole(0, MOST_CLASSES),
        "ignored": Listed(Text(2 * LONGEST_NAME), MOST_IGNORED),
        "evidence": Listed(Fields({"kind": _WORD}, {"found": Text(LONGEST_EVIDENCE)}), MOST_EVIDENCE),
    },
)
_COMMON: Mapping[str, Expected] = {"version": Whole(1), "input": _INPUT, "layers": _LAYERS, "labels": _LABELS}
_OPTIONAL: Mapping[str, Expected] = {"shuffle_seed": Maybe(Whole(0)), "gated": Flag()}

METADATA = Fields(
    {**_COMMON, "heads": Listed(_HEAD, MOST_HEADS)},
    {
        **_OPTIONAL,
        "detector": Maybe(_DETECTOR),
        "attention": Maybe(_ATTENTION),
        "cam": Maybe(Fields({"weights": _NAME, "layer": _NAME}, {"linear": Flag()})),
        "extra_inputs": Listed(_EXTRA_INPUT, MOST_HEADS),
        "tail": Maybe(
            Fields(
                {"file": Text(LONGEST_FILE_NAME), "id": _NAME, "layer": _NAME},
                {"input": _NAME, "outputs": Listed(_NAME, MOST_HEADS)},
            )
        ),
    },
    closed=False,
)
"""Contract version 2: heads, or a detector."""

METADATA_1 = Fields(
    {
        **_COMMON,
        "task": _WORD,
        "classes": Whole(1, MOST_CLASSES),
        "outputs": Fields(
            {},
            {
                "logits": Maybe(_NAME),
                "scores": Maybe(_NAME),
                "box": Maybe(_NAME),
                "cam_weights": Maybe(_NAME),
                "cam_layer": Maybe(_NAME),
                "linear_head": Flag(),
            },
        ),
        "box": _BOX,
    },
    {
        **_OPTIONAL,
        "tail": Maybe(
            Fields(
                {"file": Text(LONGEST_FILE_NAME), "id": _NAME, "layer": _NAME},
                {"input": _NAME, "logits": _NAME, "box": Maybe(_NAME)},
            )
        ),
    },
    closed=False,
)
"""Contract version 1: one head of classes, and a box where there is one."""


def parse_tree(text: str) -> Mapping[str, Any]:
    """The JSON of the metadata as an object with a version. Raises OnnxplainError for anything else."""
    try:
        tree = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise OnnxplainError("found JSON that is nested too deeply") from error
    except ValueError as error:
        # The message of UnicodeDecodeError and the like may hold the text itself.
        raise OnnxplainError(f"found no JSON ({shown(str(error))})") from error
    Fields({"version": Whole(1)}, closed=False).check("metadata", tree)
    return dict(tree)


def check_metadata(tree: Mapping[str, Any]) -> None:
    """Raise OnnxplainError, with the place in the JSON, unless every value is as in the table of its version."""
    (METADATA if "heads" in tree else METADATA_1).check("metadata", tree)


def check_roles(names: Iterable[str | None]) -> None:
    """Raise OnnxplainError if two roles name the same output."""
    twice = [name for name, roles in Counter(names).items() if name is not None and roles > 1]
    if twice:
        raise OnnxplainError(f"metadata: found output {shown(twice[0])} with several roles, expected one role each")


def check_labels(labels: object) -> None:
    """Raise OnnxplainError unless it is a list of texts, one per class; or such lists by the names of heads."""
    for name, each in labels.items() if isinstance(labels, Mapping) else [("", labels)]:
        _LABELS.check(f"labels of {shown(name)}" if name else "labels", each)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
