"""Which layers an entry of `layers` means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest

from onnxplain.errors import ModelError
from onnxplain.exporters import instrument
from tests.exporters.onnx_models import MAPS, SIZE_HW, node, plain_model, save


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(plain_model(), tmp_path_factory.mktemp("layers") / "plain.onnx")


# 8 × 6 positions: conv1 has 4 · 27 · 48 = 5184 multiply-adds, conv2 6 · 36 · 48 = 10368, the head 30.
@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (["auto"], ["late"]),
        (["late"], ["late"]),
        (["early"], ["early"]),
        (["ear"], ["early"]),
        (["LATE"], ["late"]),
        (["conv2"], ["conv2"]),
        (["late", "conv1"], ["conv1", "late"]),
        (["late", "late", "auto"], ["late"]),
        (["0%"], ["conv1"]),
        (["40%"], ["conv1"]),
        (["70%"], ["conv2"]),
        (["100%"], ["conv2"]),
        (["33.4%", "100%"], ["conv1", "conv2"]),
    ],
)
def test_choice(source: Path, tmp_path: Path, wanted: Sequence[str], chosen: Sequence[str]) -> None:
    spec = instrument(source, tmp_path / "out.onnx", layers=wanted).spec
    assert [layer.name for layer in spec.layers] == list(chosen)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (["conv"], r"'conv' is ambiguous.*conv1, conv2.*whole name"),
        (["nowhere"], r"'nowhere' not found.*conv1, early, conv2, late"),
        (["pooled"], r"'pooled': found shape \['batch', 6, 1, 1\], expected a map"),
        (["logits"], r"'logits': found shape \['batch', 5\], expected a map"),
        (["101%"], "'101%': expected a share from 0% to 100%"),
        (["-1%"], "expected a share from 0% to 100%"),
        (["half%"], "expected a share from 0% to 100%"),
        (["%"], "expected a share from 0% to 100%"),
        ([], "layers: found none, expected at least one"),
        (["late", "nowhere"], "'nowhere' not found"),
    ],
)
def test_refused_choice(source: Path, tmp_path: Path, wanted: Sequence[str], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        instrument(source, tmp_path / "out.onnx", layers=wanted)
    assert not list(tmp_path.iterdir())


def test_an_exact_name_wins_over_a_part_of_another(tmp_path: Path) -> None:
    plain = plain_model(renamed={"early": "late_before"})
    spec = instrument(save(plain, tmp_path / "plain.onnx"), tmp_path / "out.onnx", layers=["late"]).spec
    assert [layer.name for layer in spec.layers] == ["late"]


def test_a_map_beside_the_way_to_the_logits_is_no_layer(tmp_path: Path) -> None:
    aside = onnx.helper.make_tensor_value_info("aside", onnx.TensorProto.FLOAT, ["batch", MAPS, *SIZE_HW])
    plain = plain_model(more_nodes=[node("Sigmoid", ["late"], ["aside"])], more_outputs=[aside])
    with pytest.raises(ModelError, match="'aside' does not lead to the logits 'logits'"):
        instrument(save(plain, tmp_path / "plain.onnx"), tmp_path / "out.onnx", layers=["aside"])


def test_the_image_in_another_type_or_layout_is_no_layer(tmp_path: Path) -> None:
    # [N, 8, 3, 6] after a transposition: a picture on its side, no feature map.
    plain = plain_model()
    first = plain.graph.node[0]
    first.input[0] = "turned_back"
    for step in (
        node("Transpose", ["turned"], ["turned_back"], perm=[0, 2, 1, 3]),
        node("Transpose", ["image"], ["turned"], perm=[0, 2, 1, 3]),
    ):
        plain.graph.node.insert(0, step)
    spec = instrument(save(plain, tmp_path / "plain.onnx"), tmp_path / "out.onnx", layers=["0%"]).spec
    assert [layer.name for layer in spec.layers] == ["conv1"]
