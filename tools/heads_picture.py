"""Draw docs/images/heads.jpg: explanations of every kind of head, by networks that know three colours and no more.

Run `python -m tools.heads_picture` after a change of the pictures.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from onnxplain.contract import Preprocessing
from onnxplain.explainers import GradCAM
from onnxplain.explainers.drawing.sheet import make_sheet
from onnxplain.exporters import instrument
from onnxplain.runtime import Engine

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "heads.jpg"
SIDE = 224
COLOURS = ("red", "green", "blue")
Image = npt.NDArray[np.uint8]


class ColourNet(nn.Module):
    """Three maps: how much more red, green or blue a place is than grey. `finish` makes the answer from them."""

    def __init__(self, finish: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        colours = nn.Conv2d(3, 3, 1, bias=False)
        colours.weight.data = (1.5 * torch.eye(3) - 0.5)[:, :, None, None]
        self.maps = nn.Sequential(colours, nn.ReLU(), nn.AvgPool2d(8), nn.ReLU())
        self.answer = nn.Conv2d(3, 3, 1)
        self.answer.weight.data, self.answer.bias.data = torch.eye(3)[:, :, None, None], torch.zeros(3)
        self.finish = finish

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The answer."""
        return self.finish(self.answer(self.maps(image)))


def shapes(**colours: str) -> Image:
    """A disc, a square and a triangle on grey, in the colours that are given."""
    image = np.full((SIDE, SIDE, 3), 190, np.uint8)
    rgb = {name: tuple(225 if name == each else 45 for each in COLOURS) for name in COLOURS}
    if "disc" in colours:
        cv2.circle(image, (62, 66), 40, rgb[colours["disc"]], -1, cv2.LINE_AA)
    if "square" in colours:
        cv2.rectangle(image, (132, 40), (196, 104), rgb[colours["square"]], -1)
    if "triangle" in colours:
        corners = np.array([[112, 128], [62, 204], [162, 204]], np.int32)
        cv2.fillPoly(image, [corners], rgb[colours["triangle"]], cv2.LINE_AA)
    return image


def open_net(folder: Path, output: str, kind: str, finish: Callable[[torch.Tensor], torch.Tensor]) -> Engine:
    """The network with that answer, as an explainable file."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ColourNet(finish).eval(), (torch.rand(1, 3, SIDE, SIDE),), file, dynamo=False,
            input_names=["image"], output_names=[output], dynamic_axes={"image": {0: "n"}, output: {0: "n"}},
        )  # fmt: skip
    plain, path = folder / f"{kind}.onnx", folder / f"{kind} explainable.onnx"
    plain.write_bytes(file.getvalue())
    labels = () if kind in ("values", "embedding") else COLOURS
    instrument(
        plain, path, heads=[f"{output}:{kind}"], labels=labels, layers=["/maps/maps.3/Relu"],
        preprocessing=Preprocessing("rgb", 1 / 255, (0, 0, 0), (1, 1, 1), "stretch"),
    )  # fmt: skip
    return Engine(path)


def pooled(maps: torch.Tensor) -> torch.Tensor:
    """Means, [N, 3], large enough for probabilities away from a half."""
    return 60 * maps.mean((2, 3)) - 2


def main() -> None:
    """Write the picture."""
    image = shapes(disc="red", square="green", triangle="blue")
    other = shapes(disc="green", triangle="green")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        classes = open_net(folder, "colour", "classes", lambda maps: torch.softmax(pooled(maps), 1))
        labels = open_net(folder, "colours", "labels", lambda maps: torch.sigmoid(pooled(maps)))
        values = open_net(folder, "redness", "values", lambda maps: 100 * maps[:, :1].mean((2, 3)))
        embedding = open_net(folder, "e", "embedding", lambda maps: functional.normalize(maps.mean((2, 3))))
        mask = open_net(folder, "m", "mask", lambda maps: torch.softmax(9 * maps, 1))
        found = {
            "classes": GradCAM(classes)(image, "red", against="green"),
            "labels": GradCAM(labels)(image, "blue"),
            "values": GradCAM(values)(image),
            "embedding": GradCAM(embedding)(image, like=other),
            "mask": GradCAM(mask)(image, "blue@112,180"),
        }
        titles = ["image", *found]
        sheet = make_sheet([image, *(each.picture() for each in found.values())], titles, columns=3)
    height, width = sheet.shape[:2]
    small = cv2.resize(sheet, (960, round(height * 960 / width)), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(PICTURE), small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
