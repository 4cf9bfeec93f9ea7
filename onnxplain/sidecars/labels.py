"""Class labels: one per line, or one of the forms in which tools write them as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxplain.contract.metadata_checks import LONGEST_LABEL
from onnxplain.errors import OnnxplainError
from onnxplain.sidecars.facts import SidecarFacts, Sourced, unless_unusable
from onnxplain.sidecars.problem import UnusableError
from onnxplain.sidecars.surroundings import Surroundings, load_text, parse_json

MOST_LABELS = 100_000
EXPECTED = (
    "one label per line, or JSON: a list of labels, a list of records such as {index, name}, "
    "or an object from index to label"
)
_INDEX_KEYS = ("index", "id", "class_id")
_NAME_KEYS = ("name", "label")


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file, by index; the forms are those of `labels_of_text`.

    Raises OnnxplainError if the file cannot be read, has no labels, or has no label for some index.
    """
    try:
        return labels_of_text(load_text(path))
    except UnusableError as error:
        if isinstance(error.__cause__, OSError):
            reason = error.__cause__.strerror
            raise OnnxplainError(f"{path}: cannot read the labels ({reason}): check the path") from error
        raise OnnxplainError(f"{path}: found {error.found}, expected {error.expected}") from error


def read_label_file(around: Surroundings) -> SidecarFacts:
    """The labels of a file beside the model: ``<model>.labels.txt``, ``labels.txt`` and the same as JSON.

    ``labels.txt`` is what Azure Custom Vision and TensorFlow Lite put beside a model:
    https://learn.microsoft.com/azure/ai-services/custom-vision-service/export-your-model
    """
    stem = around.model_path.stem
    path = around.find(f"{stem}.labels.txt", f"{stem}.labels.json", "labels.txt", "labels.json", "class_index.json")
    if path is None:
        return SidecarFacts()
    name = path.name
    return unless_unusable(name, lambda: SidecarFacts(labels=Sourced(labels_of_text(load_text(path)), name)))


def labels_of_text(text: str) -> tuple[str, ...]:
    """The labels of a text file, by index. Raises UnusableError.

    - one label per line;
    - JSON as `labels_of_tree` takes it.
    """
    if text.lstrip().startswith(("[", "{")):
        return labels_of_tree(parse_json(text))
    lines = [line.strip(" \t") for line in text.strip().replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    if lines == [""]:
        raise UnusableError("no label", EXPECTED)
    if "" in lines:
        # Skipping an empty line would shift all labels after it.
        raise UnusableError(f"empty line {lines.index('') + 1}", EXPECTED)
    return _checked(lines)


def labels_of_tree(tree: Any) -> tuple[str, ...]:
    """The labels of a tree, by index. Raises UnusableError.

    - ``["tench", …]``;
    - ``[{"index": 0, "name": "tench"}, …]``, in any order;
    - ``{"0": "tench", …}``: Hugging Face's ``id2label``, and Ultralytics' ``names``, whose keys are numbers;
    - ``{"0": ["n01440764", "tench"], …}``: the class index of Keras (keras.applications.imagenet_utils);
    - an object with one of these under ``id2label``: Hugging Face's config.json.
    """
    if isinstance(tree, Mapping) and "id2label" in tree:
        tree = tree["id2label"]
    if isinstance(tree, Mapping):
        return _checked(_by_index({_index(key): _name(value) for key, value in tree.items()}, len(tree)))
    if not isinstance(tree, list | tuple):
        raise UnusableError("no label", EXPECTED)
    if any(isinstance(record, Mapping) for record in tree):
        records = [_record(record) for record in tree]
        return _checked(_by_index(dict(records), len(records)))
    return _checked(tree)


def _record(record: Any) -> tuple[int | None, Any]:
    if not isinstance(record, Mapping):
        raise UnusableError("records and other values in one list", EXPECTED)
    index = next((record[key] for key in _INDEX_KEYS if key in record), None)
    return _index(index), next((record[key] for key in _NAME_KEYS if key in record), None)


def _index(key: Any) -> int | None:
    """A class index, also as text; None if the key is none."""
    if isinstance(key, str) and key.isdecimal() and len(key) < 10:
        return int(key)
    return key if isinstance(key, int) and not isinstance(key, bool) else None


def _name(value: Any) -> Any:
    """The label; of Keras' pairs of WordNet number and label, the label."""
    return value[1] if isinstance(value, list | tuple) and len(value) == 2 else value


def _by_index(labels: Mapping[int | None, Any], count: int) -> list[Any]:
    missing = next((index for index in range(count) if index not in labels), None)
    if missing is not None:
        raise UnusableError(f"no label for index {missing} of {count}", EXPECTED)
    return [labels[index] for index in range(count)]


def _checked(labels: Sequence[Any]) -> tuple[str, ...]:
    if not labels:
        raise UnusableError("no label", EXPECTED)
    if len(labels) > MOST_LABELS:
        raise UnusableError(f"{len(labels):,} labels", f"at most {MOST_LABELS:,}")
    if not all(isinstance(label, str) for label in labels):
        raise UnusableError("labels that are not text", EXPECTED)
    longest = max(map(len, labels))
    if longest > LONGEST_LABEL:
        raise UnusableError(f"a label of {longest:,} characters", f"at most {LONGEST_LABEL:,}")
    return tuple(labels)
