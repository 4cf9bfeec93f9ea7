// Grad-CAM from an explainable file, in Node: node grad_cam.mjs MODEL.onnx IMAGE.ppm [TARGET]
//
// Needs onnxruntime-web from npm. MODEL was written with --required-inputs. IMAGE is a binary PPM of the input's size.
// TARGET is an entry of the first head; -1, the default, is its best entry.

import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-web";

function fail(what, why) {
  console.error(`${what}: ${why}`);
  process.exit(1);
}

/** The fields of a protobuf message: [number, bytes] of each field that has a length. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const wire = key % 8;
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else {
      const length = varint();
      yield [Math.floor(key / 8), bytes.subarray(at, at + length)];
      at += length;
    }
  }
}

/** An entry of metadata_props, which onnxruntime-web does not show: field 14 of ModelProto, key 1, value 2. */
function metadata(model, name) {
  const text = new TextDecoder();
  for (const [number, entry] of fields(model)) {
    if (number !== 14) continue;
    const pair = Object.fromEntries([...fields(entry)].map(([key, bytes]) => [key, text.decode(bytes)]));
    if (pair[1] === name) return pair[2];
  }
  return fail(name, "found no such metadata, expected an explainable file");
}

/** Width, height and RGB bytes of a binary PPM without comments. */
function readPpm(bytes) {
  const [header, width, height] = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.subarray(0, 64).toString("latin1")) ?? [];
  if (header === undefined) fail("image", "found no binary PPM (P6, 255)");
  return { width: Number(width), height: Number(height), rgb: bytes.subarray(header.length) };
}

const [modelPath, imagePath, stated] = process.argv.slice(2);
const target = Number(stated ?? -1);
const model = await readFile(modelPath);
const spec = JSON.parse(metadata(model, "onnxplain"));
if (spec.version !== 2)
  fail(modelPath, `found contract version ${spec.version}, expected 2: instrument the file again`);
const source = spec.input;
const head = spec.heads[0];
const layer = spec.layers.at(-1);
if (source.layout !== "nchw" || !["rgb", "bgr"].includes(source.channels) || ["embedding", "mask"].includes(head.kind))
  fail(modelPath, "this example takes a colour photo as [N, 3, H, W], and no embedding or mask");
if (!(target >= -1 && target < head.size)) fail(`target ${stated}`, `expected -1 to ${head.size - 1}`);

const [height, width] = source.size_hw;
const image = readPpm(await readFile(imagePath));
if (image.width !== width || image.height !== height)
  fail(imagePath, `found ${image.width}x${image.height} pixels, expected ${width}x${height}`);
const area = height * width;
const input = new Float32Array(3 * area);
for (let channel = 0; channel < 3; channel++) {
  const stored = source.channels === "bgr" ? 2 - channel : channel;
  const mean = source.mean[channel % source.mean.length];
  const std = source.std[channel % source.std.length];
  for (let pixel = 0; pixel < area; pixel++)
    input[channel * area + pixel] = (image.rgb[pixel * 3 + stored] * source.scale - mean) / std;
}

ort.env.wasm.numThreads = 1; // more need the headers COOP and COEP in a browser
const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 });
if (!session.inputNames.includes("target"))
  fail(modelPath, "found a default for the input target: write the file with --required-inputs");
const feeds = {
  [source.name]: new ort.Tensor("float32", input, [1, 3, height, width]),
  target: new ort.Tensor("int64", BigInt64Array.of(BigInt(target)), [1]),
};
if (spec.gated) feeds.explain = new ort.Tensor("bool", [true], [1]);
const found = await session.run(feeds, [head.logits, layer.features, layer.gradients]);
const logits = found[head.logits].data;
const features = found[layer.features].data;
const gradients = found[layer.gradients].data;

// Grad-CAM: alpha_k = mean over space of the gradient of map k; heat = max(0, sum over k of alpha_k · map k).
const [rows, columns] = layer.size_hw;
const cells = rows * columns;
const heat = new Float64Array(cells);
for (let map = 0; map < layer.channels; map++) {
  let alpha = 0;
  for (let cell = 0; cell < cells; cell++) alpha += gradients[map * cells + cell] / cells;
  for (let cell = 0; cell < cells; cell++) heat[cell] += alpha * features[map * cells + cell];
}
const largest = Math.max(...heat, 1e-30);

let entry = Math.max(target, 0);
if (target < 0 && ["classes", "labels"].includes(head.kind)) entry = logits.indexOf(Math.max(...logits));
console.log(`target ${entry} label ${spec.labels[entry] ?? entry} logit ${logits[entry].toFixed(6)}`);
console.log(`heat ${rows} ${columns}`);
for (let row = 0; row < rows; row++) {
  const values = heat.subarray(row * columns, (row + 1) * columns);
  console.log([...values].map((value) => Math.max(value / largest, 0).toFixed(6)).join(" "));
}
