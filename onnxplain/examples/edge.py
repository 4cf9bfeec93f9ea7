"""Class, box and heatmap of photos or frames: python -m onnxplain.examples.edge MODEL.onnx 0|VIDEO|FOLDER [-o DIR]

Of a folder, each image gets its heatmap under its own name; --every N: every n-th. Of a camera or a video, every tenth
frame gets one under its number. The exit status is 1 if an image could not be read.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from onnxplain import Engine, OnnxplainError, explain, load_image
from onnxplain.explainers import localize

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Name, name of the heatmap's file without its suffix, RGB image or None.
Frames = Iterator[tuple[str, str, npt.NDArray[np.uint8] | None]]


def read_folder(folder: Path) -> Frames:
    """The images in the folder. One that cannot be read is named on standard error."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    stems = Counter(path.stem for path in paths)
    for path in paths:
        name = path.stem if stems[path.stem] == 1 else path.name
        try:
            yield path.name, name, load_image(path)
        except OnnxplainError as error:
            print(error, file=sys.stderr)
            yield path.name, name, None


def read_video(source: str) -> Frames:
    """The frames of the camera with that number, or of a video file."""
    video = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not video.isOpened():
        raise SystemExit(f"{source}: found no camera, video or folder that can be read")
    number = 0
    while (frame := video.read())[0]:
        name = f"{number:05}"
        yield name, name, cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        number += 1


def explain_frames() -> int:
    """Explain what the arguments name; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an explainable file")
    parser.add_argument("source", help="camera number, video file or folder")
    parser.add_argument("--every", type=int, metavar="N", help="a heatmap of every n-th (folder: 1, else 10)")
    parser.add_argument("-o", "--output", type=Path, default=Path("explanations"), help="folder for the heatmaps")
    options = parser.parse_args()
    is_folder = Path(options.source).is_dir()
    every = options.every or (1 if is_folder else 10)
    if is_folder and options.output.resolve() == Path(options.source).resolve():
        raise SystemExit(f"{options.output}: found the folder of the images, expected another one with -o")
    options.output.mkdir(parents=True, exist_ok=True)
    engine, failed = Engine(options.model), False
    for number, (shown, name, frame) in enumerate(
        read_folder(Path(options.source)) if is_folder else read_video(options.source)
    ):
        if frame is None:
            failed = True
            continue
        started = time.perf_counter()
        (found,) = localize(engine, frame)
        milliseconds = (time.perf_counter() - started) * 1000
        box = [round(side) for side in found.box_xyxy or ()]
        print(f"{shown}  {found.label} {found.score:.2f}  box {box}  {milliseconds:.1f} ms", flush=True)
        if number % every == 0:
            explain(engine, frame).save(options.output / f"{name}.png", frame)
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(explain_frames())
    except OnnxplainError as problem:
        sys.exit(str(problem))
