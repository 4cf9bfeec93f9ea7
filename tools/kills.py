"""Kill commands at random moments, press Ctrl-C in RISE, start two writers, and count what is lost or doubled.

python -m tools.kills [PART …] [--seed N] [--kills N] [--interrupts N] [--pairs N]      (`make test-kills`, minutes)

Exit status 1 if anything was lost, doubled or half written.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from onnxplain.demo import IMAGES, MODEL
from tools.batch_kills import kill_actors, kill_drivers, kill_workers
from tools.commands import finish, kill_after, start

_REFUSALS = 3


def read_results(folder: Path) -> dict[tuple[str, str], bytes]:
    """The heatmap of each line by image and method. Raises if a line or file is not whole, or a line is there twice."""
    found: dict[tuple[str, str], bytes] = {}
    results = folder / "explanations.jsonl"
    for line in results.read_text(encoding="utf-8").splitlines(keepends=True) if results.exists() else []:
        entry = json.loads(line)
        if not line.endswith("\n") or (entry["image"], entry["method"]) in found:
            raise ValueError(f"{results}: found half a line, or one twice: {line}")
        Image.open(folder / entry["overlay"]).load()
        found[entry["image"], entry["method"]] = np.load(folder / entry["heatmap"]).tobytes()
    return found


def kill_explain(folder: Path, times: int, rng: random.Random) -> Counter[str]:
    """Whatever a killed run wrote is whole and right, and the next run works in its folder."""
    photos = sorted(IMAGES.glob("*.png"))
    words = ["explain", MODEL, *photos, "-m", "cam", "-m", "rise", "--masks", 256, "--batch-size", 8, "-o"]
    seconds = finish(*words, folder / "whole")
    whole = read_results(folder / "whole")
    counts: Counter[str] = Counter()
    while counts["kills"] < times:
        counts["kills"] += kill_after(rng.uniform(0.2, seconds), *words, folder / "killed")
        try:
            found = read_results(folder / "killed")
        except (OSError, ValueError, KeyError) as error:
            print(error, file=sys.stderr)
            counts["faults"] += 1
            continue
        counts["faults"] += any(whole[key] != heatmap for key, heatmap in found.items())
    finish(*words, folder / "killed")
    counts["faults"] += read_results(folder / "killed") != whole
    return counts


def kill_evaluate(folder: Path, times: int, rng: random.Random) -> Counter[str]:
    """Runs that are killed again and again end with the files of one that was not."""
    words = ["evaluate", MODEL, "digits", "--limit", 60, "-m", "cam", "-m", "grad-cam", "-o"]
    seconds = finish(*words, folder / "whole")
    counts: Counter[str] = Counter()
    while counts["kills"] < times:
        out = folder / str(counts["ends"])
        if kill_after(rng.uniform(0.3, seconds), *words, out):
            counts["kills"] += 1
        else:
            counts["faults"] += not _same_evaluation(folder / "whole", out)
            counts["ends"] += 1
    out = folder / str(counts["ends"])
    finish(*words, out)
    counts["ends"] += 1
    counts["faults"] += not _same_evaluation(folder / "whole", out)
    return counts


def _same_evaluation(whole: Path, other: Path) -> bool:
    names = ("images.jsonl", "images.csv", "summary.json")
    return all((whole / name).read_bytes() == (other / name).read_bytes() for name in names)


def kill_train(folder: Path, times: int, rng: random.Random) -> Counter[str]:
    """A training that is killed and resumed again and again ends with the weights of one that was not."""
    import torch

    from onnxplain.training.checkpoint import load_checkpoint

    source = _write_photos(folder / "photos", 24)
    words = ["train", source, "--size", "32x32", "--epochs", 12, "--batch-size", 4, "-o"]
    seconds = finish(*words, folder / "whole.pt")
    whole = load_checkpoint(folder / "whole.pt").module.state_dict()
    counts: Counter[str] = Counter()
    while counts["kills"] < times or not counts["ends"]:
        out = folder / f"{counts['ends']}.pt"
        state = out.with_name(f"{out.name}.state")
        resume = ["--resume"] if state.exists() else []
        if resume and counts["refused unasked"] < _REFUSALS:
            process = start(*words, out)
            process.communicate()
            counts["refused unasked"] += 1
            counts["faults"] += process.returncode != 2
        # After the last kill, one run to its end.
        limit = rng.uniform(0.5 * seconds, 1.1 * seconds) if counts["kills"] < times else 600
        if kill_after(limit, *words, out, *resume):
            counts["kills"] += 1
            continue
        counts["ends"] += 1
        found = load_checkpoint(out).module.state_dict()
        counts["faults"] += not all(torch.equal(tensor, found[name]) for name, tensor in whole.items())
    return counts


def _write_photos(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), ["file,label,xmin,ymin,xmax,ymax"]
    for number in range(count):
        x, y = (int(each) for each in rng.integers(2, 20, 2))
        photo, colour = Image.new("RGB", (48, 48), (90, 90, 90)), ("red", "blue")[number % 2]
        ImageDraw.Draw(photo).rectangle((x, y, x + 23, y + 23), fill=colour)
        photo.save(folder / f"{number:02}.png")
        rows.append(f"{number:02}.png,{colour},{x},{y},{x + 24},{y + 24}")
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "boxes.csv"


def interrupt_rise(folder: Path, times: int, rng: random.Random) -> Counter[str]:
    """Ctrl-C at any moment of the sampling leaves one whole map and its line, and ends with status 130."""
    (photo, *_) = sorted(IMAGES.glob("*.png"))
    words = ["explain", MODEL, photo, "-m", "rise", "-o"]
    seconds = finish(*words, folder / "whole", "--masks", 1024)
    counts: Counter[str] = Counter()
    while counts["presses"] < times:
        out = folder / str(counts["presses"])
        process = start(*words, out, "--masks", 1_000_000)
        while process.poll() is None and not (out / "explanations.jsonl").exists():
            time.sleep(0.005)
        # From the first forward pass to some hundred masks, also on a busy machine.
        time.sleep(rng.uniform(0.3, max(2.0, seconds)))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        counts["presses"] += 1
        kept = read_results(out)
        lines = (out / "explanations.jsonl").read_text(encoding="utf-8").splitlines()
        masks = json.loads(lines[0])["masks"] if lines else 0
        counts["under 64 masks"] += masks < 64
        if (process.returncode, len(kept), errors.count("\n")) != (130, 1, 1):
            print(f"status {process.returncode}, {len(kept)} maps: {errors}", file=sys.stderr)
            counts["faults"] += 1
    return counts


def write_in_pairs(folder: Path, times: int, _rng: random.Random) -> Counter[str]:
    """Of two commands that write to one folder at once, one is refused; the other's output is whole and right."""
    photos = sorted(IMAGES.glob("*.png"))
    words = ["explain", MODEL, *photos, "-m", "cam", "-m", "rise", "--masks", 1024, "--batch-size", 8, "-o"]
    finish(*words, folder / "whole")
    whole = read_results(folder / "whole")
    counts: Counter[str] = Counter()
    for number in range(times):
        pair = [start(*words, folder / str(number)) for _ in range(2)]
        said = [process.communicate()[1] for process in pair]
        counts["pairs"] += 1
        counts["refused"] += sum("another onnxplain is writing there" in errors for errors in said)
        right = sorted(process.returncode for process in pair) == [0, 2] and read_results(folder / str(number)) == whole
        counts["faults"] += not right
    return counts


def main() -> int:
    """Run all parts and print a line of counts for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("seed", 0), ("kills", 60), ("interrupts", 20), ("pairs", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("parts", nargs="*", help="a word of each part to run, such as train; default: all")
    asked = parser.parse_args()
    share = -(-asked.kills // 4)
    parts: list[tuple[str, Callable[[Path, int, random.Random], Counter[str]], int]] = [
        ("kill -9 of explain", kill_explain, share),
        ("kill -9 of evaluate", kill_evaluate, share),
        ("kill -9 of batch", kill_drivers, share),
        ("kill -9 of workers of batch", kill_workers, share),
        ("kill -9 of actors of Ray of batch", kill_actors, share // 3),
        ("kill -9 of train", kill_train, share),
        ("Ctrl-C in rise", interrupt_rise, asked.interrupts),
        ("two writers", write_in_pairs, asked.pairs),
    ]
    faults = 0
    with tempfile.TemporaryDirectory() as root:
        for title, part, times in parts:
            if not times or (asked.parts and not any(word in title for word in asked.parts)):
                continue
            counts = part(Path(root) / title.replace(" ", "-"), times, random.Random(asked.seed))
            faults += counts["faults"]
            told = ", ".join(f"{count} {name}" for name, count in counts.items() if name != "faults")
            print(f"{title}: {told}, {counts['faults']} faults", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
