"""A training that is killed, and resumed in another process, ends like one that was not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from click.testing import CliRunner

from onnxplain.cli.main import cli
from onnxplain.errors import OnnxplainError
from onnxplain.training.backbone import SMALL_PREPROCESSING
from onnxplain.training.checkpoint import load_checkpoint, save_checkpoint
from onnxplain.training.localizer import LocalizerConfig, build_localizer
from onnxplain.training.loop import LoopState
from onnxplain.training.score import LocalizationScore
from onnxplain.training.state import StateFile
from tests.training.shapes import write_shapes

EPOCHS = 20
FLAGS = ["--size", "32x32", "--batch-size", "4", "--learning-rate", "0.003"]


def command(source: Path, out: Path, *more: str, epochs: int = EPOCHS) -> list[str]:
    return ["train", str(source), "-o", str(out), "--epochs", str(epochs), *FLAGS, *more]


def train(*arguments: object) -> list[str]:
    """The lines that a training prints, without its minutes and the places of its files."""
    result = CliRunner().invoke(cli, [str(word) for word in arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return without_times(result.stdout)


def without_times(text: str) -> list[str]:
    return [re.sub(r"^.*parameters, |^.*(?=\.split: )|[\d.]+ minutes", "", line) for line in text.splitlines()]


def test_a_killed_training_resumes_to_the_same_end(tmp_path: Path) -> None:
    source = write_shapes(tmp_path / "shapes", 24)
    lines = train(*command(source, tmp_path / "whole.pt"))

    killed = tmp_path / "killed.pt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxplain.cli.main", *command(source, killed)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.match(r"epoch +2/", line):
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "killed.pt.state").exists()

    resumed = train(*command(source, killed, "--resume"))
    assert 2 < len(resumed) < len(lines)
    assert resumed[1:] == lines[-len(resumed) + 1 :]
    written = [f"{stem}.{suffix}" for stem in ("killed", "whole") for suffix in ("pt", "split")]
    assert sorted(path.name for path in tmp_path.glob("*.*")) == written
    for whole_list in (tmp_path / "whole.split").iterdir():
        assert (tmp_path / "killed.split" / whole_list.name).read_text() == whole_list.read_text()
    one, two = (load_checkpoint(path).module.state_dict() for path in (tmp_path / "whole.pt", killed))
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def stop_at_once(source: Path, out: Path) -> None:
    """Leave the state of a training that has just begun."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnxplain.training.loop._step", interrupted)
        assert CliRunner().invoke(cli, command(source, out, epochs=2)).exit_code == 130
    assert out.with_name(f"{out.name}.state").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--epochs", "3"], ["epochs 2", "expected 3", "--resume"]),
        (["--seed", "1"], ["images", "expected"]),
        (["--size", "48x48"], ["images", "expected"]),
        (["--learning-rate", "0.1"], ["learning_rate 0.003", "expected 0.1"]),
        (["--no-flip"], ["augmentation", "expected"]),
        (["--box-loss", "smooth-l1"], ["box_loss l2", "expected smooth-l1"]),
        (["--supervision", "labels"], ["box_channels 16", "expected 0"]),
    ],
)
def test_another_training_is_not_resumed(change: list[str], words: list[str], tmp_path: Path) -> None:
    source, out = write_shapes(tmp_path / "shapes", 24), tmp_path / "model.pt"
    stop_at_once(source, out)
    result = CliRunner().invoke(cli, command(source, out, "--resume", *change, epochs=2))

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def test_other_images_are_not_resumed_on(tmp_path: Path) -> None:
    source, out = write_shapes(tmp_path / "shapes", 24), tmp_path / "model.pt"
    stop_at_once(source, out)
    source.write_text(source.read_text().replace("05.png,red", "05.png,blue"))
    result = CliRunner().invoke(cli, command(source, out, "--resume", epochs=2))

    assert result.exit_code == 2
    assert "model.pt.state: found a training with images" in result.stderr


@pytest.mark.parametrize(
    ("flags", "status", "kept"),
    [([], 2, True), (["--resume", "--restart"], 2, True), (["--resume"], 0, False), (["--restart"], 0, False)],
    ids=["unasked", "both", "resume", "restart"],
)
def test_a_stopped_training_is_not_overwritten_unasked(
    flags: list[str], status: int, kept: bool, tmp_path: Path
) -> None:
    source, out = write_shapes(tmp_path / "shapes", 24), tmp_path / "model.pt"
    stop_at_once(source, out)
    state = out.with_name("model.pt.state")
    before = state.read_bytes()
    result = CliRunner().invoke(cli, command(source, out, *flags, epochs=2))
    assert result.exit_code == status, result.stderr
    assert state.exists() == kept
    if kept:
        assert state.read_bytes() == before
        assert result.stderr.count("\n") == 1
        for word in ("--resume", "--restart"):
            assert word in result.stderr


def test_a_restart_forgets_another_training(tmp_path: Path) -> None:
    """Also if it is stopped before its first epoch: its own state is then not that of the training before."""
    source, out = write_shapes(tmp_path / "shapes", 24), tmp_path / "model.pt"
    stop_at_once(source, out)
    assert CliRunner().invoke(cli, command(source, out, "--restart", "--seed", "1", epochs=1)).exit_code == 0
    assert not out.with_name("model.pt.state").exists()


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of a training state was run')",)


def bad_state(path: Path, name: str) -> None:
    kind = {"kind": "onnxplain training", "version": 1}
    if name == "text":
        path.write_text("no state")
    elif name == "checkpoint":
        save_checkpoint(path, build_localizer(LocalizerConfig(2), 0), "ab", SMALL_PREPROCESSING)
    elif name == "code":
        torch.save({**kind, "identity": Malicious()}, path)
    elif name == "identity":
        torch.save(kind, path)
    else:
        torch.save({**kind, "identity": {"epochs": 2}, "scores": [{"luck": 1}], "seconds": 0.0}, path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no training to resume"),
        ("text", "no PyTorch file"),
        ("checkpoint", "another kind"),
        ("code", "more than plain tensors"),
        ("identity", "without the options of its training"),
        ("scores", "do not fit"),
    ],
)
def test_files_that_are_no_state_are_refused_in_one_line(name: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt.state"
    if name != "missing":
        bad_state(path, name)
    with pytest.raises(OnnxplainError, match=message) as caught:
        StateFile(path, {"epochs": 2}).load()
    assert "\n" not in str(caught.value)


def test_a_state_comes_back_whole(tmp_path: Path) -> None:
    module = build_localizer(LocalizerConfig(2), 0)
    optimizer = torch.optim.AdamW(module.parameters())
    scores = (LocalizationScore(0.5, None, 0.25, 3), LocalizationScore(0.5, 0.5, 0.5, 3, 1.0))
    identity = {"size_hw": (8, 16), "pretrained": None, "labels": ("a", "b"), "preprocessing": {"mean": (0.5, 0.5)}}
    state = LoopState(scores, module.state_dict(), optimizer.state_dict(), {"last_epoch": 3})
    file = StateFile(tmp_path / "state", identity)
    file.save(state, 12.5)
    loaded, seconds = file.load()

    assert (loaded.scores, loaded.optimizer, loaded.schedule, seconds) == (
        scores,
        state.optimizer,
        state.schedule,
        12.5,
    )
    assert all(torch.equal(loaded.module[name], tensor) for name, tensor in state.module.items())
