from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch

from onnxplain.contract import Preprocessing
from onnxplain.errors import OnnxplainError
from onnxplain.training.checkpoint import load_checkpoint, require_writable, save_checkpoint
from onnxplain.training.localizer import Localizer, LocalizerConfig

LABELS = ("cat", "dog", "naïve 東")
PREPROCESSING = Preprocessing("bgr", 1 / 255, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1), resize="letterbox")


def small_localizer() -> Localizer:
    torch.manual_seed(0)
    module = Localizer(LocalizerConfig(classes=3, size_hw=(16, 24), widths=(4, 6), box_channels=2))
    module(torch.randn(4, 3, 16, 24))  # moves the running statistics off their defaults
    return module


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    module, path = small_localizer(), tmp_path / "new" / "cats.pt"
    save_checkpoint(path, module, LABELS, PREPROCESSING)

    checkpoint = load_checkpoint(path)

    assert not checkpoint.module.training
    assert (checkpoint.labels, checkpoint.preprocessing) == (LABELS, PREPROCESSING)
    assert (checkpoint.size_hw, checkpoint.module.config) == ((16, 24), module.config)
    images = torch.randn(2, 3, 16, 24)
    with torch.inference_mode():
        for loaded, original in zip(checkpoint.module(images), module.eval()(images), strict=True):
            assert torch.equal(loaded, original)


def test_saving_leaves_the_module_in_its_mode(tmp_path: Path) -> None:
    module = small_localizer().train()
    save_checkpoint(tmp_path / "cats.pt", module, LABELS, PREPROCESSING)

    assert module.training


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cats.pt"
    save_checkpoint(path, small_localizer(), LABELS, PREPROCESSING)
    before = path.read_bytes()

    def full_disk(tree: object, stream: object) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OnnxplainError, match="No space left"):
        save_checkpoint(path, small_localizer(), LABELS, PREPROCESSING)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(tree: object, stream: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "cats.pt", small_localizer(), LABELS, PREPROCESSING)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file/cats.pt", "folder"])
def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for attempt in (
        lambda: require_writable(tmp_path / place),
        lambda: save_checkpoint(tmp_path / place, small_localizer(), LABELS, PREPROCESSING),
    ):
        with pytest.raises(OnnxplainError, match="cannot write the checkpoint"):
            attempt()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_asking_whether_a_path_can_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "cats.pt").write_text("an older checkpoint")
    require_writable(tmp_path / "cats.pt")

    assert [path.read_text() for path in tmp_path.iterdir()] == ["an older checkpoint"]


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of a checkpoint was run')",)


def bad_files(folder: Path) -> dict[str, Path]:
    """One file per way in which a file is not a checkpoint."""
    good = folder / "good.pt"
    save_checkpoint(good, small_localizer(), LABELS, PREPROCESSING)
    tree = torch.load(good, weights_only=True)
    (folder / "empty").touch()
    (folder / "text").write_text("not a checkpoint\n")
    (folder / "truncated").write_bytes(good.read_bytes()[:-500])
    (folder / "pickle").write_bytes(pickle.dumps(Malicious()))
    torch.save({"kind": tree["kind"], "state": Malicious()}, folder / "code")
    torch.save(tree["state"], folder / "weights-alone")
    torch.save([1, 2], folder / "list")
    with zipfile.ZipFile(folder / "other-zip", "w") as archive:
        archive.writestr("readme.txt", "an archive of something else")
    torch.save({**tree, "version": 99}, folder / "version")
    torch.save({**tree, "config": {**tree["config"], "widths": (4, 7)}}, folder / "shapes")
    torch.save({**tree, "config": {"depth": 3}}, folder / "config")
    torch.save({key: value for key, value in tree.items() if key != "state"}, folder / "no-state")
    torch.save({**tree, "labels": ["cat"]}, folder / "labels")
    torch.save({**tree, "preprocessing": {"resize": "squeeze"}}, folder / "preprocessing")
    return {path.name: path for path in folder.iterdir() if path != good}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "truncated"),
        ("text", "truncated"),
        ("truncated", "truncated"),
        ("pickle", "no PyTorch file"),
        ("code", "plain tensors"),
        ("weights-alone", "another kind"),
        ("list", "another kind"),
        ("other-zip", "plain tensors"),
        ("version", "version 99"),
        ("shapes", "do not fit"),
        ("config", "do not fit"),
        ("no-state", "do not fit"),
        ("labels", "1 labels for 3 classes"),
        ("preprocessing", "squeeze"),
        ("missing", "cannot read the checkpoint"),
        (".", "cannot read the checkpoint"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    path = bad_files(tmp_path).get(name, tmp_path / name)

    with pytest.raises(OnnxplainError, match=message) as caught:
        load_checkpoint(path)

    assert "\n" not in str(caught.value)
