"""Images of several digits in files, with COCO annotations: those of the demo, or as many as are asked for.

python -m onnxplain.data.digits.group_samples DIR          the sample images of the demo
python -m onnxplain.data.digits.group_samples DIR COUNT    the first COUNT images of the test split
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from onnxplain.data.digits.group_scenes import DigitGroup, draw_group
from onnxplain.data.digits.samples import ANNOTATIONS, DemoImage
from onnxplain.data.digits.scenes import DIGIT_LABELS

GROUP_SAMPLES = (
    DemoImage(1027, "coffee", (144, 192)),
    DemoImage(1045, "grass", (144, 192)),
    DemoImage(1030, "chelsea", (160, 192)),
)
"""Chosen by eye for legible digits, two of one class in one image. None is among the first thousand images, on which
the model is scored."""


def write_sample_groups(folder: Path) -> Path:
    """Write the sample images of the demo; the file of their annotations."""
    drawn = (draw_group("test", each.index, size_hw=each.size_hw, texture=each.texture) for each in GROUP_SAMPLES)
    named = zip(GROUP_SAMPLES, drawn, strict=True)
    return write_groups(folder, ((f"{_spell(group)}-on-{each.texture}", group) for each, group in named))


def write_test_groups(folder: Path, count: int) -> Path:
    """Write the first `count` images of the test split; the file of their annotations."""
    return write_groups(folder, ((f"{index:05d}", draw_group("test", index)) for index in range(count)))


def write_groups(folder: Path, groups: Iterable[tuple[str, DigitGroup]]) -> Path:
    """Write images by name as PNG, and ``annotations.json``, a COCO file; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for identity, (name, group) in enumerate(groups, 1):
        height, width = group.image.shape[:2]
        Image.fromarray(group.image).save(folder / f"{name}.png", optimize=True)
        images.append({"id": identity, "file_name": f"{name}.png", "width": width, "height": height})
        for (x1, y1, x2, y2), class_id in zip(group.boxes_xyxy.tolist(), group.class_ids.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": identity,
                    "category_id": class_id + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": label} for number, label in enumerate(DIGIT_LABELS, 1)]
    lists = {"images": images, "annotations": annotations, "categories": categories}
    rows = [
        f'  "{name}": [\n' + ",\n".join(f"    {json.dumps(entry)}" for entry in entries) + "\n  ]"
        for name, entries in lists.items()
    ]
    path = folder / ANNOTATIONS
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    return path


def _spell(group: DigitGroup) -> str:
    """The digits of an image from left to right."""
    order = group.boxes_xyxy[:, 0].argsort()
    return "".join(DIGIT_LABELS[class_id] for class_id in group.class_ids[order])


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(write_test_groups(target, int(sys.argv[2])) if len(sys.argv) > 2 else write_sample_groups(target))
