"use strict";
/* Raw maps → heat over a photo → boxes. The same numbers as in Python: runtime/geometry.py (axisOf, layMap),
 * explainers/heatmap.py (windowOf, heatScale), explainers/regions.py (regionsOf) and drawing/colours.py (paint).
 * Math.fround stands where Python rounds to float32. A map is {raw, h, w, frame, map_frame, heat_from_zero}.
 */
const mapMath = (() => {
  // Larger photos are cut into boxes on a coarser grid of about this many pixels.
  const MOST_PIXELS = 16e6;

  const fround = Math.fround;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const rounded = (value, decimals) => Math.round(value * 10 ** decimals) / 10 ** decimals;

  function bytesOf(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  async function inflated(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** The raw map of report/map_code.py: float32, or 16-bit steps of its range, as differences in two planes of bytes. */
  async function decodeMap(code) {
    const { h, w } = code;
    const bytes = bytesOf(code.data);
    const raw = new Float32Array(h * w);
    if (code.kind === "float32") {
      const view = new DataView(bytes.buffer);
      for (let i = 0; i < raw.length; i++) raw[i] = view.getFloat32(4 * i, true);
      return raw;
    }
    const planes = await inflated(bytes);
    const steps = new Uint16Array(h * w);
    for (let y = 0, i = 0; y < h; y++) {
      for (let x = 0; x < w; x++, i++) {
        const zigzag = planes[i] | (planes[h * w + i] << 8);
        const difference = (zigzag >> 1) ^ -(zigzag & 1);
        const left = x ? steps[i - 1] : 0;
        const above = y ? steps[i - w] : 0;
        steps[i] = difference + left + above - (x && y ? steps[i - w - 1] : 0);
        raw[i] = code.low + steps[i] * code.step;
      }
    }
    return raw;
  }

  /** Along one axis: which two cells each pixel mixes, with which weights, and the pixels [start, stop) that see any. */
  function axisOf(map, axis, outSide) {
    const { frame, map_frame: lies } = map;
    const cells = axis ? map.w : map.h;
    const inputSide = frame.input_size_hw[axis];
    const pixel = frame.image_size_hw[axis] / outSide;
    const scale = frame.scale_xy[1 - axis] * pixel;
    const offset = frame.offset_xy[1 - axis];
    const edge = (place) => (place - offset) / scale;
    const cell = lies ? lies.scale_hw[axis] : inputSide / cells;
    const first = lies ? lies.offset_hw[axis] : 0;
    let start = Math.floor(rounded(clamp(edge(0), 0, outSide), 6));
    let stop = Math.ceil(rounded(clamp(edge(inputSide), 0, outSide), 6));
    if (lies) {
      start = Math.max(start, Math.floor(rounded(edge(lies.seen_hw[axis][0]), 6)));
      stop = Math.min(stop, Math.max(Math.ceil(rounded(edge(lies.seen_hw[axis][1]), 6)), 0));
    }
    const left = new Int32Array(outSide);
    const right = new Int32Array(outSide);
    const share = new Float32Array(outSide);
    for (let i = 0; i < outSide; i++) {
      const place = clamp((scale * (i + 0.5)) / cell + (offset - first) / cell - 0.5, 0, cells - 1);
      left[i] = Math.min(Math.floor(place), Math.max(cells - 2, 0));
      right[i] = Math.min(left[i] + 1, cells - 1);
      share[i] = place - left[i];
    }
    return { left, right, share, start, stop: Math.max(start, stop) };
  }

  /** Rows and columns that the model, and the map, saw at least in part, as [top, bottom, left, right]. */
  function windowOf(map, outH, outW) {
    const { frame, map_frame: lies } = map;
    const sides = [0, 1].map((axis) => {
      const size = axis ? outW : outH;
      const pixel = frame.image_size_hw[axis] / size;
      const scale = frame.scale_xy[1 - axis] * pixel;
      const edge = (place) => clamp((place - frame.offset_xy[1 - axis]) / scale, 0, size);
      let low = rounded(edge(0), 6);
      let high = rounded(edge(frame.input_size_hw[axis]), 6);
      if (lies) {
        low = Math.max(low, rounded(fround(edge(lies.seen_hw[axis][0])), 3));
        high = Math.min(high, rounded(fround(edge(lies.seen_hw[axis][1])), 3));
      }
      return [Math.floor(low), Math.max(Math.ceil(high), Math.floor(low))];
    });
    return [...sides[0], ...sides[1]];
  }

  /** The map over outH × outW pixels, a row at a time, not normalised: ReLU, or centred as RISE needs it. */
  function layMap(map, outH, outW) {
    const { raw, w } = map;
    let mean = 0;
    if (!map.heat_from_zero) {
      for (const value of raw) mean += value;
      mean /= raw.length;
    }
    const values = raw.map((value) => (map.heat_from_zero ? Math.max(value, 0) : fround(value - mean)));
    const rows = axisOf(map, 0, outH);
    const columns = axisOf(map, 1, outW);
    const line = new Float32Array(w);
    function fill(y, out) {
      out.fill(0);
      if (y < rows.start || y >= rows.stop) return;
      const above = rows.left[y] * w;
      const below = rows.right[y] * w;
      const share = rows.share[y];
      const rest = fround(1 - share);
      for (let x = 0; x < w; x++) line[x] = rest * values[above + x] + share * values[below + x];
      for (let x = columns.start; x < columns.stop; x++) {
        const part = columns.share[x];
        out[x] = fround(1 - part) * line[columns.left[x]] + part * line[columns.right[x]];
      }
    }
    return { fill, window: windowOf(map, outH, outW), outH, outW };
  }

  /** The pixels on which boxes are cut: the photo's own, or fewer for a very large photo. */
  function boxGrid(map) {
    const [height, width] = map.frame.image_size_hw;
    const factor = Math.max(1, Math.sqrt((height * width) / MOST_PIXELS));
    return [Math.max(1, Math.round(height / factor)), Math.max(1, Math.round(width / factor))];
  }

  /** The values that become heat 0 and heat 1. */
  function heatScale(map) {
    const laid = layMap(map, ...boxGrid(map));
    const [top, bottom, left, right] = laid.window;
    const line = new Float32Array(laid.outW);
    let low = Infinity;
    let high = -Infinity;
    for (let y = top; y < bottom; y++) {
      laid.fill(y, line);
      for (let x = left; x < right; x++) {
        if (line[x] < low) low = line[x];
        if (line[x] > high) high = line[x];
      }
    }
    return map.heat_from_zero ? { low: 0, high } : { low, high };
  }

  /** Turn one row of laid values into heat in [0, 1]; 0 outside the window. */
  function normaliseRow(line, y, window, scale) {
    const [top, bottom, left, right] = window;
    const range = scale.high - scale.low;
    for (let x = 0; x < line.length; x++) {
      const inside = y >= top && y < bottom && x >= left && x < right;
      line[x] = inside ? Math.min(Math.max((line[x] - scale.low) / range, 0), 1) : 0;
    }
  }

  /** Heat over outH × outW pixels, float32. */
  function heatOf(map, scale, outH, outW) {
    const laid = layMap(map, outH, outW);
    const heat = new Float32Array(outH * outW);
    for (let y = 0; y < outH; y++) {
      const line = heat.subarray(y * outW, (y + 1) * outW);
      laid.fill(y, line);
      normaliseRow(line, y, laid.window, scale);
    }
    return heat;
  }

  /** The 8-connected regions at or above a level of heat, largest first: [{xyxy, score, area}] in pixels of the photo. */
  function regionsOf(map, scale, threshold) {
    const [outH, outW] = boxGrid(map);
    const laid = layMap(map, outH, outW);
    const level = fround(threshold);
    const line = new Float32Array(outW);
    const parents = [];
    const found = [];
    const rootOf = (id) => {
      while (parents[id] !== id) id = parents[id] = parents[parents[id]];
      return id;
    };
    let before = [];
    for (let y = 0; y < outH; y++) {
      laid.fill(y, line);
      normaliseRow(line, y, laid.window, scale);
      const runs = [];
      let touching = 0;
      for (let x = 0; x < outW; x++) {
        if (!(line[x] >= level && line[x] > 0)) continue;
        const start = x;
        let score = 0;
        for (; x < outW && line[x] >= level && line[x] > 0; x++) if (line[x] > score) score = line[x];
        const id = parents.length;
        parents.push(id);
        found.push({ box: [start, y, x, y + 1], score, area: x - start });
        // A run of the row above touches, also at a corner, if it ends at this start or behind it.
        while (touching < before.length && before[touching].stop < start) touching++;
        for (let k = touching; k < before.length && before[k].start <= x; k++) join(before[k].id, id);
        runs.push({ start, stop: x, id });
      }
      before = runs;
    }
    function join(one, other) {
      const [into, from] = [rootOf(one), rootOf(other)];
      if (into === from) return;
      parents[from] = into;
      const [a, b] = [found[into], found[from]];
      a.box = [0, 1, 2, 3].map((side) => (side < 2 ? Math.min : Math.max)(a.box[side], b.box[side]));
      a.score = Math.max(a.score, b.score);
      a.area += b.area;
    }
    const [height, width] = map.frame.image_size_hw;
    const [toX, toY] = [width / outW, height / outH];
    return found
      .filter((_, id) => parents[id] === id)
      .map(({ box, score, area }) => ({
        xyxy: [box[0] * toX, box[1] * toY, box[2] * toX, box[3] * toY],
        score,
        area: area * toX * toY,
      }))
      .sort((a, b) => b.area - a.area || b.score - a.score);
  }

  /** Intersection over union of two boxes x1, y1, x2, y2. */
  function iouOf(a, b) {
    const areaOf = (box) => Math.max(box[2] - box[0], 0) * Math.max(box[3] - box[1], 0);
    const common =
      Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0) *
      Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
    const union = areaOf(a) + areaOf(b) - common;
    return union > 0 ? common / union : 0;
  }

  /** RGBA pixels: the palette's colour of each heat, as opaque as the heat times `alpha`. */
  function paint(heat, palette, alpha) {
    const pixels = new Uint8ClampedArray(4 * heat.length);
    for (let i = 0; i < heat.length; i++) {
      const level = 3 * Math.round(heat[i] * 255);
      pixels[4 * i] = palette[level];
      pixels[4 * i + 1] = palette[level + 1];
      pixels[4 * i + 2] = palette[level + 2];
      pixels[4 * i + 3] = heat[i] * alpha * 255;
    }
    return pixels;
  }

  return { bytesOf, decodeMap, windowOf, boxGrid, heatScale, heatOf, regionsOf, iouOf, paint };
})();
