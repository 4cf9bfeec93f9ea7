"""Grad-CAM from an explainable file, without onnxplain: python grad_cam.py MODEL.onnx IMAGE [TARGET]

Needs onnxruntime, numpy and Pillow. TARGET is an entry of the first head; -1, the default, is its best entry.
"""

import json
import sys

import numpy as np
import onnxruntime as ort
from PIL import Image

model, path, target = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else -1
options = ort.SessionOptions()
options.log_severity_level = 3  # without it, ONNX Runtime warns about the default of `target` and of `explain`
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
spec = json.loads(session.get_modelmeta().custom_metadata_map["onnxplain"])
if spec["version"] != 2:
    raise SystemExit(f"{model}: found contract version {spec['version']}, expected 2: instrument the file again")
source, head, layer = spec["input"], spec["heads"][0], spec["layers"][-1]
if source["layout"] != "nchw" or source["channels"] not in ("rgb", "bgr") or head["kind"] in ("embedding", "mask"):
    raise SystemExit(f"{model}: this example takes a colour photo as [N, 3, H, W], and no embedding or mask")
if not -1 <= target < head["size"]:
    raise SystemExit(f"target {target}: expected -1 to {head['size'] - 1}")

# The whole image, resized to the input. Where `resize` is crop or letterbox, the image has to be cut or padded first.
height, width = source["size_hw"]
pixels = np.asarray(Image.open(path).convert("RGB").resize((width, height)), np.float32)
if source["channels"] == "bgr":
    pixels = pixels[:, :, ::-1]
mean, std = (np.array(source[name], np.float32) for name in ("mean", "std"))
image = ((pixels * np.float32(source["scale"]) - mean) / std).transpose(2, 0, 1)[None]

feeds = {source["name"]: image, "target": np.array([target], np.int64)}
if spec["gated"]:
    feeds["explain"] = np.array([True])
wanted = [head["logits"], layer["features"], layer["gradients"]]
logits, features, gradients = session.run(wanted, feeds)

# Grad-CAM: alpha_k = mean over space of the gradient of map k; heat = max(0, sum over k of alpha_k · map k).
alpha = gradients[0].mean(axis=(1, 2))
heat = np.maximum(np.tensordot(alpha, features[0], axes=1), 0)
heat /= max(heat.max(), 1e-30)

entry = int(logits[0].argmax()) if target < 0 and head["kind"] in ("classes", "labels") else max(target, 0)
label = spec["labels"][entry] if spec["labels"] else entry
print(f"target {entry} label {label} logit {logits[0].ravel()[entry]:.6f}")
print(f"heat {heat.shape[0]} {heat.shape[1]}")
for row in heat:
    print(" ".join(f"{value:.6f}" for value in row))
