"""Files of class labels, good and bad."""

from __future__ import annotations

import pytest

from onnxplain.errors import OnnxplainError
from onnxplain.sidecars.labels import LONGEST_LABEL, MOST_LABELS, read_labels

GOOD = {
    "lines": b"ant\nbee\n",
    "no end of line": b"ant\nbee",
    "windows": b"\xef\xbb\xbfant\r\nbee\r\n",
    "list": b'["ant", "bee"]',
    "object": b'{"1": "bee", "0": "ant"}',
    "records": b'[{"index": 1, "name": "bee"}, {"index": 0, "wnid": "n0", "name": "ant"}]',
    "records of id and label": b'[{"id": 0, "label": "ant"}, {"id": 1, "label": "bee"}]',
    "Keras class index": b'{"0": ["n01440764", "ant"], "1": ["n01443537", "bee"]}',
    "config.json": b'{"model_type": "vit", "id2label": {"0": "ant", "1": "bee"}}',
}
BAD = {
    "empty": (b"", "found no label"),
    "gap": (b"ant\n\nbee\n", "empty line 2"),
    "not text": (b"\xff\xfe\x00", "not UTF-8"),
    "broken list": (b'["ant", ', "broken JSON"),
    "missing index": (b'{"0": "ant", "2": "bee"}', "no label for index 1 of 2"),
    "no index": (b'{"first": "ant"}', "no label for index 0"),
    "numbers": (b"[1, 2]", "not text"),
    "empty list": (b"[]", "found no label"),
    "record without index": (b'[{"name": "ant"}]', "no label for index 0 of 1"),
    "records from 1": (b'[{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]', "no label for index 0 of 2"),
    "record without name": (b'[{"index": 0}]', "not text"),
    "records and text": (b'["ant", {"index": 1, "name": "bee"}]', "records and other values"),
    "index twice": (b'{"0": "ant", "00": "bee"}', "no label for index 1 of 2"),
    "endless index": (b'{"' + b"9" * 9000 + b'": "ant"}', "no label for index 0"),
    "endless number": (b"[" + b"9" * 9000 + b"]", "broken JSON"),
    "nested": (b"[" * 99_999, "broken JSON"),
    "nested object": (b'{"0": {"0": "ant"}}', "not text"),
    "long": (b"a" * (LONGEST_LABEL + 1), "a label of 1,001 characters"),
    "many": (b"a\n" * (MOST_LABELS + 1), "100,001 labels"),
    "huge": (b"a" * (8 * 2**20 + 1), "more than 8,388,608 bytes"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name, tmp_path):
    (tmp_path / "labels").write_bytes(GOOD[name])
    assert read_labels(tmp_path / "labels") == ("ant", "bee")


@pytest.mark.parametrize("name", BAD)
def test_bad(name, tmp_path):
    content, words = BAD[name]
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(OnnxplainError, match=words):
        read_labels(tmp_path / "labels")


def test_control_characters_are_kept(tmp_path):
    labels = ("a\x1b[31m\x0b", "b\u2028c")
    (tmp_path / "lines").write_text("\n".join(labels))
    assert read_labels(tmp_path / "lines") == labels


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(OnnxplainError, match=r"cannot read the labels \(No such file.*: check the path"):
        read_labels(tmp_path / "labels")
