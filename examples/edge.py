"""Class, box and heatmap for each frame: python edge.py MODEL.onnx 0|VIDEO|FOLDER [--every N] [-o DIR]"""

import argparse
import time
from pathlib import Path

import cv2

from onnxplain import Engine, explain, load_image
from onnxplain.explainers import localize


def read_frames(source):
    """RGB frames of a folder of images, of the camera with that number, or of a video file."""
    if Path(source).is_dir():
        yield from (load_image(path) for path in sorted(Path(source).iterdir()) if cv2.haveImageReader(str(path)))
        return
    video = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not video.isOpened():
        raise SystemExit(f"{source}: found no camera, video or folder that can be read")
    while (frame := video.read())[0]:
        yield cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", help="an explainable file")
parser.add_argument("source", help="camera number, video file or folder")
parser.add_argument("--every", type=int, default=10, metavar="N", help="a heatmap of every n-th frame (default 10)")
parser.add_argument("-o", "--output", type=Path, default=Path("explanations"), help="folder for the heatmaps")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)
engine = Engine(options.model)
for number, frame in enumerate(read_frames(options.source)):
    started = time.perf_counter()
    (found,) = localize(engine, frame)
    milliseconds = (time.perf_counter() - started) * 1000
    box = [round(side) for side in found.box_xyxy or ()]
    print(f"{number:05}  {found.label} {found.score:.2f}  box {box}  {milliseconds:.1f} ms", flush=True)
    if number % options.every == 0:
        cv2.imwrite(str(options.output / f"{number:05}.png"), explain(engine, frame).overlay(frame)[..., ::-1])
