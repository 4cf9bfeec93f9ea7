// Runs the page's map_math.js on the maps of standard input (JSON), and prints its numbers as JSON.
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

runInThisContext(readFileSync(process.argv[2], "utf-8") + "\n;globalThis.mapMath = mapMath;");
const asked = JSON.parse(readFileSync(0, "utf-8"));
const answers = [];
for (const { code, threshold, size_hw: [height, width], palette, alpha, ...rest } of asked) {
  const map = { ...rest, h: code.h, w: code.w, raw: await mapMath.decodeMap(code) };
  const scale = mapMath.heatScale(map);
  const heat = mapMath.heatOf(map, scale, height, width);
  answers.push({
    raw: [...map.raw],
    heat: [...heat],
    window: mapMath.windowOf(map, height, width),
    regions: mapMath.regionsOf(map, scale, threshold),
    painted: palette ? [...mapMath.paint(heat, mapMath.bytesOf(palette), alpha)] : null,
  });
}
process.stdout.write(JSON.stringify(answers));
