"""The goals, one row each, and whether they are met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.report.measurement import OURS, Results
from benchmarks.report.ratio import Ratio, unpaired_ratio

TORCH_TOOLS = ("torchcam", "captum", "grad-cam")


@dataclass(frozen=True)
class Goal:
    """A limit for the ratio `ours` / `tool` ("at most") or `tool` / `ours` ("at least").

    If `other_case` is given, `tool` is measured in that case, and the ratio is not paired by rounds.
    """

    name: str
    case: str
    tool: str
    bound: Literal["at most", "at least"]
    limit: float
    other_case: str | None = None
    ours: str = OURS

    def measure(self, results: Results) -> Ratio | None:
        """The ratio; None if one side was not measured or `ours` is incomplete."""
        ours = results.find(self.case, self.ours)
        if ours is None or not ours.is_complete:
            return None
        if self.other_case is not None:
            theirs = results.find(self.other_case, self.tool)
            return unpaired_ratio(ours.samples, theirs.samples) if theirs is not None and theirs.samples else None
        sides = (self.ours, self.tool) if self.bound == "at most" else (self.tool, self.ours)
        return results.compare(self.case, *sides)

    def is_met(self, ratio: Ratio) -> bool:
        """Whether the median meets the limit; the interval is not used."""
        return ratio.median <= self.limit if self.bound == "at most" else ratio.median >= self.limit


GOALS = (
    Goal("Grad-CAM, ResNet-50, batch 1", "grad-cam/resnet50/b1", "floor", "at most", 1.05),
    Goal("Grad-CAM, ResNet-50, batch 1", "grad-cam/resnet50/b1", "torchcam", "at least", 1.8),
    Goal("Grad-CAM, ResNet-50, batch 1", "grad-cam/resnet50/b1", "captum", "at least", 1.8),
    Goal("Grad-CAM, ResNet-50, batch 1", "grad-cam/resnet50/b1", "grad-cam", "at least", 5),
    Goal("RISE, equal masks, ResNet-50", "rise-masks/resnet50/256", "floor", "at most", 1.05),
    Goal("RISE, equal masks, MobileNetV2", "rise-masks/mobilenetv2/1000", "floor", "at most", 1.05),
    Goal("RISE, equal masks, MobileNetV2", "rise-masks/mobilenetv2/1000", "dianna", "at least", 1),
    Goal("RISE, peak memory, 1,000 masks", "memory-masks/mobilenetv2/1000", "dianna", "at most", 0.25),
    Goal("RISE, peak memory, 8,000 masks", "memory-masks/mobilenetv2/8000", "dianna", "at most", 0.1),
    *(
        Goal(f"RISE, equal quality, {name}", f"rise-quality/{model}", tool, "at least", factor)
        for model, name, tools in (
            ("mobilenetv1", "MobileNetV1", ("torch", "dianna", "xplique", "openvino-xai", "openvino-xai@bf16")),
            ("squeezenet", "SqueezeNet", ("dianna", "openvino-xai", "openvino-xai@bf16")),
        )
        for tool, factor in ((tool, 1 if tool.endswith("@bf16") else 4) for tool in tools)
    ),
    *(
        Goal("Cold start to the first file", "cold-start/resnet50", tool, "at most", 0.25, ours="onnxplain@cli")
        for tool in TORCH_TOOLS
    ),
    *(Goal("Installed size", "installed-size", tool, "at most", 0.5) for tool in TORCH_TOOLS),
    Goal(
        "Peak memory, 10,000 images over 100",
        "memory-images/mobilenetv1/10000",
        OURS,
        "at most",
        1.05,
        other_case="memory-images/mobilenetv1/100",
    ),
)
