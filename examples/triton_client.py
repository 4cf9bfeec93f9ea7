"""Grad-CAM from a model behind Triton: python triton_client.py http://HOST:8000 NAME IMAGE [--target N] [-o OUT.png]

NAME is the plain entry that `onnxplain serve-config triton` wrote. The input's size, the preprocessing and the labels
come from the configuration of NAME_explain. It needs NumPy and Pillow only, and resizes the whole photo to the input:
where the metadata say crop or letterbox, cut or pad the photo first.
"""

import argparse
import json
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image


def ask(url, body=None):
    """The JSON answer to a GET, or to a POST of JSON."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.load(answer)


def tensor(name, array, kind):
    """An input in the form of the inference protocol."""
    return {"name": name, "shape": list(array.shape), "datatype": kind, "data": array.ravel().tolist()}


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("server")
parser.add_argument("name")
parser.add_argument("image")
parser.add_argument("--target", type=int, default=-1, help="the number of a class (default: the predicted class)")
parser.add_argument("-o", "--output", default="triton.png", help="file for the heatmap (default triton.png)")
options = parser.parse_args()

models = f"{options.server}/v2/models/{options.name}"
metadata = json.loads(ask(f"{models}_explain/config")["parameters"]["onnxplain"]["string_value"])
image, layer = metadata["input"], metadata["layers"][-1]
height, width = image["size_hw"]
photo = Image.open(options.image).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
pixels = np.asarray(photo, np.float32).transpose(2, 0, 1)
pixels = pixels[::-1] if image["channels"] == "bgr" else pixels
mean, std = (np.reshape(image[key], (-1, 1, 1)) for key in ("mean", "std"))
batch = ((pixels * image["scale"] - mean) / std).astype(np.float32)[None]

plain = ask(f"{models}/infer", {"inputs": [tensor(image["name"], batch, "FP32")]})
scores = np.array(plain["outputs"][0]["data"])
target = int(scores.argmax()) if options.target < 0 else options.target

inputs = [
    tensor(image["name"], batch, "FP32"),
    tensor("target", np.array([target]), "INT64"),
    tensor("explain", np.array([True]), "BOOL"),
]
asked = [{"name": layer["features"]}, {"name": layer["gradients"]}]
answer = ask(f"{models}_explain/infer", {"inputs": inputs, "outputs": asked})
arrays = {each["name"]: np.reshape(each["data"], each["shape"])[0] for each in answer["outputs"]}
features, gradients = arrays[layer["features"]], arrays[layer["gradients"]]
heat = np.maximum((gradients.mean((1, 2))[:, None, None] * features).sum(0), 0)
heat = heat / heat.max() if heat.max() > 0 else heat
picture = Image.fromarray((heat * 255).round().astype(np.uint8))
picture.resize((width, height), Image.Resampling.BILINEAR).save(options.output)
print(json.dumps({"target": target, "heatmap": np.round(heat, 4).tolist()}))
