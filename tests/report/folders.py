"""Folders of explanations to report: a real one with names that hold markup, and ones with many images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onnxplain import Engine
from onnxplain.demo import MODEL
from onnxplain.explanations.explain_images import explain_images
from onnxplain.explanations.explanation_folder import ExplanationFolder, PictureStyle
from onnxplain.explanations.open_model import OpenedModel
from onnxplain.explanations.open_options import OpenOptions
from onnxplain.explanations.questions import plan_questions
from onnxplain.explanations.run_record import record_run
from tests.explanations.conftest import RecordedProgress

MARKUP = "</script><script>alert(1)</script>"
LABELS = ("<b>zero</b>", MARKUP, "two", "three", "four", "five", "six", "seven", "eight", "nine")
NAMES = ("<img src=x onerror=alert(2)>.png", "plain.png", "ünï – 漢字 {{ 7*7 }}.png")
PHOTOS = tuple(sorted((MODEL.parent / "images").glob("*.png")))


def write_folder(folder: Path) -> Path:
    """folder/out: three photos beside it, two methods, two targets, and an image that cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(MODEL, folder / "model.onnx")
    for name, photo in zip(NAMES, PHOTOS, strict=False):
        shutil.copy(photo, folder / name)
    (folder / "broken.png").write_text("no image")
    engine = Engine(folder / "model.onnx", labels=LABELS)
    methods = ("grad-cam", "eigen-cam", "rise")
    questions = plan_questions(engine, methods, ("four", MARKUP), {"masks": 60, "batch_size": 20})
    style = PictureStyle()
    run = record_run(OpenedModel(engine, ()), OpenOptions(), questions, style, folder / "out")
    with ExplanationFolder(folder / "out", style, run) as out:
        sources = [*(folder / name for name in NAMES), folder / "broken.png"]
        for _ in explain_images(engine, sources, questions, out, RecordedProgress()):
            pass
    return folder / "out"


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "explanations.jsonl").read_text(encoding="utf-8").splitlines()]


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "explanations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def multiply(source: Path, folder: Path, images: int) -> Path:
    """A folder like `source` with one map each of many images, all the same small photo."""
    (folder / "out").mkdir(parents=True)
    shutil.copy(source / "run.json", folder / "out")
    first = next(line for line in lines_of(source) if line.get("method") == "grad-cam" and "plain" in line["image"])
    shutil.copy(source / first["raw"], folder / "out" / "map.raw.npy")
    Image.open(source / first["image"]).save(folder / "0.png")
    lines = []
    for number in range(images):
        path = folder / f"{number}.png"
        if number:
            path.hardlink_to(folder / "0.png")
        lines.append({**first, "image": f"../{path.name}", "raw": "map.raw.npy", "score": number / images})
        lines[-1]["top"] = [{**first["top"][0], "score": number / images}]
        best = {**first["answers"][0]["top"][0], "score": number / images}
        lines[-1]["answers"] = [{**first["answers"][0], "top": [best]}]
    write_lines(folder / "out", lines)
    return folder / "out"


def noisy_photo(path: Path, size_hw: tuple[int, int], seed: int) -> None:
    """A photo with the detail of real ones: smooth noise at several scales."""
    rng = np.random.default_rng(seed)
    total = np.zeros((*size_hw, 3), np.float64)
    for cells, weight in ((4, 60), (16, 40), (64, 25), (256, 12)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8)).resize(size_hw[::-1], 3)
        total += (np.asarray(coarse) - 127.5) / 127.5 * weight
    Image.fromarray(np.clip(total + 127, 0, 255).astype(np.uint8)).save(path, quality=92)
