"use strict";
/* Curves as SVG: both axes from 0 to 1. Colour, dashes and the legend's order tell the lines apart. */
globalThis.plots = (() => {
  const WIDTH = 320;
  const HEIGHT = 200;
  const LEFT = 34;
  const BOTTOM = 34;
  const EDGE = 8;
  const DASHES = ["", "7 4", "2 3", "10 3 2 3", "5 5", "1 4"];
  const COLOURS = 6;

  function svg(name, given = {}, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(given)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  const toX = (share) => LEFT + share * (WIDTH - LEFT - EDGE);
  const toY = (value) => HEIGHT - BOTTOM - Math.min(1, Math.max(0, value)) * (HEIGHT - BOTTOM - EDGE);
  const point = (value, at, all) => `${toX(at / (all.length - 1)).toFixed(1)},${toY(value).toFixed(1)}`;

  /** Of a line: its highest point and where it is, or the area under it. */
  function summaryOf(line, peak) {
    const { values } = line;
    if (!peak) {
      const inner = values.reduce((sum, value) => sum + value, 0) - (values[0] + values.at(-1)) / 2;
      return `area ${(inner / (values.length - 1)).toFixed(2)}`;
    }
    const best = Math.max(...values);
    // The last threshold of n is (n − 1) / n; nothing is above 1.
    return `at most ${best.toFixed(2)}, at ${(values.indexOf(best) / values.length).toFixed(2)}`;
  }

  function axes(plot) {
    const parts = [0, 0.5, 1].flatMap((at) => [
      svg("line", { class: "grid", x1: toX(0), x2: toX(1), y1: toY(at), y2: toY(at) }),
      svg("text", { x: LEFT - 5, y: toY(at) + 4, "text-anchor": "end" }, String(at)),
      svg("text", { x: toX(at), y: HEIGHT - BOTTOM + 14, "text-anchor": ["start", "middle", "end"][2 * at] }, String(at)),
    ]);
    return [...parts, svg("text", { x: toX(0.5), y: HEIGHT - 4, "text-anchor": "middle" }, plot.over)];
  }

  function lineOf(line, at) {
    const points = line.values.map(point);
    const colour = `line-${at % COLOURS}`;
    const dashes = DASHES[Math.floor(at / COLOURS + at) % DASHES.length];
    const parts = [];
    if (line.low.length) {
      const outline = [...line.high.map(point), ...line.low.map(point).reverse()];
      parts.push(svg("polygon", { class: `band ${colour}`, points: outline.join(" ") }));
    }
    parts.push(svg("polyline", { class: `line ${colour}`, points: points.join(" "), "stroke-dasharray": dashes }));
    return { parts, colour, dashes };
  }

  /** A figure with the curves of one plot, and a legend that also says what they amount to. */
  function figureOf(plot, make) {
    const drawn = plot.lines.map(lineOf);
    const told = plot.lines.map((line) => `${line.name}: ${summaryOf(line, plot.peak)}`);
    const picture = svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${plot.title}: ${plot.of} over ${plot.over}. ${told.join("; ")}` },
      ...axes(plot),
      ...drawn.flatMap(({ parts }) => parts),
    );
    const legend = make(
      "ul",
      { className: "legend" },
      ...told.map((text, at) => {
        const mark = svg("svg", { viewBox: "0 0 28 8", "aria-hidden": "true" });
        const { colour, dashes } = drawn[at];
        mark.append(svg("line", { class: `line ${colour}`, x1: 0, x2: 28, y1: 4, y2: 4, "stroke-dasharray": dashes }));
        return make("li", {}, mark, text);
      }),
    );
    const band = plot.lines.some((line) => line.low.length) ? "; the band is the 95 % interval of each point" : "";
    const caption = make("figcaption", {}, make("h3", {}, plot.title), make("p", { className: "soft" }, `${plot.of}${band}`), legend);
    return make("figure", { className: "plot" }, picture, caption);
  }

  return { figureOf };
})();
