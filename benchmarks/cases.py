"""The table of cases. `python -m benchmarks list` prints it."""

from __future__ import annotations

from benchmarks.case import Case

OURS_AND_FLOOR = ("onnxplain", "floor")
CAM_TOOLS = (*OURS_AND_FLOOR, "torch", "torchcam", "captum", "grad-cam")
RISE_TOOLS = (*OURS_AND_FLOOR, "torch", "dianna", "xplique", "openvino-xai")
# openvino-xai in bfloat16, and onnxplain on OpenVINO in float32 and bfloat16.
OPENVINO_TOOLS = ("openvino-xai@bf16", "onnxplain-openvino", "onnxplain-openvino@bf16")
# Only one of the tools that run the paper's estimator on the same session: they all need the same time.
SLOW_QUALITY_TOOLS = (*OURS_AND_FLOOR, "dianna", "openvino-xai", "openvino-xai@bf16", "onnxplain-openvino@bf16")
IMPORTED = (*CAM_TOOLS, "dianna", "xplique", "openvino-xai")

NETWORKS = ("resnet50", "mobilenetv2", "efficientnet_b0", "vit_small")
ORIGINALS = ("resnet50", "squeezenet-float16", "mobilenetv1-uint8", "mobilenetv1-int8", "vww", "resnet20")
# model, layer, subject
DEPTHS = (
    ("resnet50", "layer4", "resnet50"),
    ("resnet50", "layer3", "resnet50-layer3"),
    ("resnet50", "layer2", "resnet50-layer2"),
    ("resnet50", "stem", "resnet50-stem"),
    ("mobilenetv2", "features.6", "mobilenetv2-middle"),
    ("efficientnet_b0", "features.3", "efficientnet_b0-middle"),
    ("vit_small", "blocks.5", "vit_small-middle"),
)

MAP = "normalised float32 batch in memory → map in memory"
SOLVING = "Grad-CAMs of 100 copies in memory → heatmap in memory"
RUN = "input in memory → outputs in memory"
START = "process start → process end, a heatmap written"
IMPORT = "process start → process end, after one import statement"
PHOTOS = "32 photos as uint8 arrays in memory → resized, normalised, explained 8 at a time, maps in memory"
LEVELS = "heatmap of 224 × 224 in memory → the largest box at every level"
PEAK = "largest resident set of a process that explains so much"
PACKAGES = "bytes of the packages that the tool's users install"

UNFINISHED = "the published optimiser stops after 200 steps of at most 0.001, far from the minimum: its map differs"
RESIZED = "ours resizes with OpenCV, the others with torchvision: their inputs differ a little, so do the maps"

CASES: tuple[Case, ...] = (
    *(Case(f"grad-cam/{name}/b1", "time", "grad-cam", name, MAP, CAM_TOOLS) for name in NETWORKS),
    *(Case(f"grad-cam/{name}/b16", "time", "grad-cam", name, MAP, CAM_TOOLS, rounds=5, batch=16) for name in NETWORKS),
    Case("rise-masks/mobilenetv1/1000", "time", "rise", "mobilenetv1", MAP, (*RISE_TOOLS, *OPENVINO_TOOLS),
         rounds=15, masks=1000),
    Case("rise-masks/squeezenet/1000", "time", "rise", "squeezenet", MAP,
         (*OURS_AND_FLOOR, "openvino-xai", *OPENVINO_TOOLS), rounds=9, masks=1000),
    Case("rise-masks/mobilenetv2/1000", "time", "rise", "mobilenetv2", MAP, RISE_TOOLS, rounds=5, masks=1000),
    Case("rise-masks/resnet50/256", "time", "rise", "resnet50", MAP, (*OURS_AND_FLOOR, "torch", "dianna"),
         rounds=5, masks=256),
    # 24 runs in three trials: the limit of a trial is the mean of the 16 runs (1,000 masks each) of the other trials.
    Case("rise-quality/mobilenetv1", "quality", "rise", "mobilenetv1", MAP, (*RISE_TOOLS, *OPENVINO_TOOLS),
         rounds=24, masks=1000),
    Case("rise-quality/squeezenet", "quality", "rise", "squeezenet", MAP, SLOW_QUALITY_TOOLS, rounds=24, masks=1000),
    Case("augmented/resnet50/100", "time", "augmented-grad-cam", "resnet50", MAP, (*OURS_AND_FLOOR, "torch"),
         rounds=3, options={"copies": 100}, note=UNFINISHED),
    Case("augmented/solve/100", "time", "augmented-solve", "resnet50", SOLVING, ("onnxplain", "torch"),
         rounds=3, options={"copies": 100}, note=UNFINISHED),
    Case("cold-start/resnet50", "start", "grad-cam", "resnet50", START,
         ("onnxplain@cli", "onnxplain", "torch", "torchcam", "captum", "grad-cam"), rounds=9),
    Case("import-time", "import", "import", "resnet50", IMPORT, IMPORTED, rounds=5),
    Case("installed-size", "size", "size", "resnet50", PACKAGES,
         ("onnxplain", "torch", "torchcam", "captum", "grad-cam", "dianna", "xplique", "openvino-xai"), rounds=1),
    Case("memory-masks/mobilenetv2/1000", "memory", "rise", "mobilenetv2", PEAK, RISE_TOOLS, rounds=1, masks=1000),
    Case("memory-masks/mobilenetv2/8000", "memory", "rise", "mobilenetv2", PEAK,
         ("onnxplain", "dianna", "xplique", "openvino-xai"), rounds=1, masks=8000),
    *(Case(f"memory-images/mobilenetv1/{images}", "memory", "images", "mobilenetv1", PEAK, ("onnxplain",),
           rounds=rounds, options={"images": images})
      for images, rounds in ((100, 3), (1000, 3), (10_000, 1))),
    Case("throughput/resnet50", "time", "throughput", "resnet50", PHOTOS, CAM_TOOLS, rounds=3,
         options={"batch_size": 8}, note=RESIZED),
    *(Case(f"overhead/{name}/{state}", "time", state, name, RUN, OURS_AND_FLOOR, rounds=25)
      for name in ORIGINALS for state in ("closed", "open")),
    *(Case(f"depth/{name}/{layer}", "time", "gradient", subject, RUN, (*OURS_AND_FLOOR, "torch", "torch@forward"),
           rounds=9)
      for name, layer, subject in DEPTHS),
    Case("boxes/255", "time", "boxes", "resnet50", LEVELS, ("onnxplain", "threshold-loop"), rounds=7),
    *(Case(f"gpu/{provider}/resnet50/b{batch}", "time", "grad-cam", "resnet50", MAP, (*OURS_AND_FLOOR, "torch"),
           batch=batch, provider=provider)
      for provider in ("cuda", "tensorrt") for batch in (1, 16)),
)  # fmt: skip
