"""Files of class labels, good and bad."""

from __future__ import annotations

import pytest

from onnxplain.cli.options.labels import read_labels
from onnxplain.errors import OnnxplainError

GOOD = {
    "lines": b"ant\nbee\n",
    "no end of line": b"ant\nbee",
    "windows": b"\xef\xbb\xbfant\r\nbee\r\n",
    "list": b'["ant", "bee"]',
    "object": b'{"1": "bee", "0": "ant"}',
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
