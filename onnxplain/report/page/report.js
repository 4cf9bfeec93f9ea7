"use strict";
/* The page: cards for the images, drawn when they come into view; sliders, sort and filter. All text is set as text. */
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const palette = mapMath.bytesOf(data.palette);
  const controls = Object.fromEntries(
    [...document.querySelectorAll("#controls input, #controls select")].map((control) => [control.id, control]),
  );
  const several = data.runs.length > 1;
  const CANVAS_SIDE = 640;
  const MOST_BOXES = 20;
  const MOST_ROWS = 8;
  const AHEAD = "600px";

  function make(name, given = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(given)) {
      if (key in element && key !== "role") element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }

  const percent = (share) => `${Math.round(100 * share)} %`;
  const boxText = (box) => box.map((side) => Math.round(side)).join(", ");
  const words = (status) => status.replaceAll("_", " ");

  // ---- the data of an image: in the page, or in a file beside it that is loaded when the image comes into view

  const waiting = new Map();

  function detailOf(number) {
    if (data.beside === null) return Promise.resolve(data.details[number]);
    return new Promise((resolve, reject) => {
      const file = `${String(number).padStart(5, "0")}.js`;
      waiting.set(number, resolve);
      const script = make("script", { src: `${encodeURIComponent(data.beside)}/${file}` });
      script.onerror = () => reject(new Error(`${data.beside}/${file}: missing. It belongs beside this page.`));
      script.onload = () => script.remove();
      document.head.append(script);
    });
  }

  globalThis.onnxplainReceive = (number, detail) => {
    waiting.get(number)?.(detail);
    waiting.delete(number);
  };

  // ---- cards

  const cards = data.images.map((image, number) => {
    const title = make("h2", { id: `name-${number}` }, image.name);
    const answer = image.label === "" ? "" : `${image.label} · ${image.score_text}`;
    const badges = image.concerns.map((concern) => make("span", { className: "badge" }, concern));
    const body = make("div", { className: "body" }, make("p", { className: "waiting" }, "…"));
    const head = make("div", { className: "head" }, title, answer, ...badges);
    const article = make("article", { "aria-labelledby": title.id }, head, body);
    return { number, image, body, item: make("li", { id: `image-${number}` }, article), maps: [], state: "empty" };
  });
  const cardOf = new Map(cards.map((card) => [card.item, card]));

  function answersOf(detail) {
    return detail.answers.map((answer) => {
      const name = `${several ? `${data.runs[answer.run]}: ` : ""}${answer.head} (${answer.kind})`;
      return make("div", {}, make("h3", { className: "soft" }, name), foldedTable(answer.rows));
    });
  }

  /** A table whose rows beyond the first are folded away. */
  function foldedTable(rows) {
    const shown = make("div", {}, tableOf(rows.slice(0, MOST_ROWS)));
    const rest = rows.slice(MOST_ROWS);
    if (rest.length) shown.append(make("details", {}, make("summary", {}, `${rest.length} more`), tableOf(rest)));
    return shown;
  }

  function tableOf(rows, className = "number") {
    const lines = rows.map(([name, value]) =>
      make("tr", {}, make("th", { scope: "row" }, name), make("td", { className }, value)),
    );
    return make("table", {}, make("tbody", {}, ...lines));
  }

  function photoOf(card, detail) {
    const alt = `Photo ${card.image.name}${card.image.label ? `, predicted ${card.image.label}` : ""}`;
    const photo = detail.photo
      ? make("div", { className: "stack" }, make("img", { src: detail.photo, alt }))
      : make("p", { className: "notice" }, `No photo: ${detail.photo_reason}`);
    return make("figure", {}, photo, make("figcaption", {}, ...answersOf(detail)));
  }

  function show(card, detail) {
    if (detail.error !== undefined) {
      card.body.replaceChildren(make("p", { className: "notice" }, detail.error));
      return;
    }
    const targets = [...new Set(detail.maps.map((map) => map.target))];
    const pictures = make("div", { className: "pictures" });
    const parts = [];
    if (targets.length > 1) {
      const id = `target-${card.number}`;
      const choice = make("select", { id }, ...targets.map((target) => make("option", { value: target }, target)));
      choice.addEventListener("change", () => fill(choice.value));
      parts.push(make("p", {}, make("label", { htmlFor: id }, "Target "), choice));
    }
    if (detail.remarks.length) parts.push(tableOf(detail.remarks, "text"));
    const curves = make("div", { className: "plots" }, ...detail.plots.map((plot) => plots.figureOf(plot, make)));
    card.body.replaceChildren(...parts, pictures, curves);
    function fill(target) {
      const chosen = detail.maps.filter((map) => map.target === target || !map.uses_target);
      const once = chosen.filter(
        (map, at) => chosen.findIndex((other) => other.method === map.method && other.run === map.run) === at,
      );
      card.maps = once.map((map) => figureOf(card, detail, map));
      pictures.replaceChildren(photoOf(card, detail), ...card.maps.map((figure) => figure.element));
      refresh([card]);
    }
    fill(targets[0]);
  }

  function figureOf(card, detail, map) {
    const [height, width] = detail.size_hw;
    const factor = CANVAS_SIDE / Math.max(height, width);
    const canvas = make("canvas", {
      width: Math.max(1, Math.round(width * factor)),
      height: Math.max(1, Math.round(height * factor)),
    });
    const name = `Heatmap of ${map.method} for ${map.target} on ${card.image.name}`;
    canvas.setAttribute("aria-label", name);
    canvas.setAttribute("role", "img");
    const ground = detail.photo ? make("img", { src: detail.photo, alt: "" }) : null;
    const stack = make("div", { className: ground ? "stack" : "stack empty" }, ground, canvas);
    const facts = make("p", { className: "facts" });
    const title = several ? `${data.runs[map.run]}: ${map.method}` : map.method;
    const asked = map.scored ? `${map.target}, with ${map.scored}` : map.target;
    const what = map.uses_target ? `${asked} · ${map.score_text}` : "no target: what is strongest, whatever the class";
    const caption = make(
      "figcaption", {},
      make("h3", {}, title),
      make("p", {}, what),
      make("p", { className: "soft" }, workOf(map)),
      facts,
    );
    const element = make("figure", { className: "map" }, stack, caption);
    element.dataset.method = map.method;
    element.dataset.run = map.run;
    return { card, map, canvas, facts, element, name, truth: detail.truth, scale: null, dirty: true };
  }

  function workOf(map) {
    const parts = [map.evaluations === 1 ? "1 evaluation" : `${map.evaluations} evaluations`];
    if (map.error !== null) parts.push(`error ${(100 * map.error).toFixed(1)} %`);
    if (map.masks !== null) parts.push(`${map.masks} masks`);
    if (map.layer) parts.push(`layer ${map.layer}`);
    if (map.unit) parts.push(`in ${map.unit}`);
    if (map.code !== null && map.code.kind === "steps") parts.push("map stored with 16 bits");
    return parts.join(" · ");
  }

  // ---- drawing a map

  async function draw(figure) {
    const { map, canvas, name } = figure;
    if (map.code === null) {
      const reason = map.missing || `no map: ${words(map.status)}`;
      figure.facts.replaceChildren(make("span", { className: "badge" }, reason));
      canvas.setAttribute("aria-label", `${name}: ${reason}`);
      return;
    }
    if (figure.scale === null) {
      map.raw ??= await mapMath.decodeMap(map.code);
      Object.assign(map, { h: map.code.h, w: map.code.w });
      figure.scale = mapMath.heatScale(map);
    }
    const threshold = controls["own-threshold"].checked ? map.threshold : controls.threshold.value / 100;
    if (figure.cut !== threshold) {
      figure.regions = mapMath.regionsOf(map, figure.scale, threshold);
      figure.cut = threshold;
    }
    figure.heat ??= mapMath.heatOf(map, figure.scale, canvas.height, canvas.width);
    const context = canvas.getContext("2d");
    const pixels = mapMath.paint(figure.heat, palette, controls.opacity.value / 100);
    context.putImageData(new ImageData(pixels, canvas.width, canvas.height), 0, 0);
    hatch(context, mapMath.windowOf(map, canvas.height, canvas.width));
    if (controls["show-boxes"].checked) boxes(context, figure);
    tell(figure, threshold);
  }

  /** Hatch and outline what lies outside the window: the model did not see it. */
  function hatch(context, [top, bottom, left, right]) {
    const { width, height } = context.canvas;
    if (top === 0 && left === 0 && bottom === height && right === width) return;
    context.save();
    const outside = new Path2D();
    outside.rect(0, 0, width, height);
    outside.rect(left, top, right - left, bottom - top);
    context.clip(outside, "evenodd");
    const lines = new Path2D();
    for (let x = -height; x < width; x += 12) {
      lines.moveTo(x, height);
      lines.lineTo(x + height, 0);
    }
    context.globalAlpha = 0.5;
    stroke(context, lines, [], 1);
    context.restore();
    const edge = new Path2D();
    edge.rect(left + 0.5, top + 0.5, right - left - 1, bottom - top - 1);
    stroke(context, edge, [], 1);
  }

  function boxes(context, figure) {
    const [height, width] = figure.map.frame.image_size_hw;
    const [toX, toY] = [context.canvas.width / width, context.canvas.height / height];
    const rectangle = ([x1, y1, x2, y2]) => {
      const path = new Path2D();
      path.rect(x1 * toX, y1 * toY, (x2 - x1) * toX, (y2 - y1) * toY);
      return path;
    };
    figure.regions.slice(0, MOST_BOXES).forEach((region, at) => stroke(context, rectangle(region.xyxy), at ? [2, 3] : [], at ? 1 : 2));
    for (const each of figure.truth) stroke(context, rectangle(each), [], 2, "#7ee07e");
    const { box } = figure.map;
    if (box !== null && box.source !== "heat") stroke(context, rectangle(box.xyxy), [8, 4], 2, "#5fd0ff");
  }

  /** White over black, so that a line is seen on every ground. */
  function stroke(context, path, dashes, thickness, colour = "#ffffff") {
    const unit = CANVAS_SIDE / 400;
    context.setLineDash(dashes.map((dash) => dash * unit));
    context.lineWidth = (thickness + 1.5) * unit;
    context.strokeStyle = "rgb(0 0 0 / 60%)";
    context.stroke(path);
    context.lineWidth = thickness * unit;
    context.strokeStyle = colour;
    context.stroke(path);
  }

  function tell(figure, threshold) {
    const { map, regions, name } = figure;
    const largest = regions[0]?.xyxy ?? null;
    const region = largest === null ? "no region" : `largest region ${boxText(largest)}`;
    const lines = [`${region} (heat ≥ ${percent(threshold)}${regions.length > 1 ? `, of ${regions.length}` : ""})`];
    if (map.box !== null && map.box.source !== "heat") {
      const agreement = largest === null ? 0 : mapMath.iouOf(map.box.xyxy, largest);
      const source = map.box.source === "head" ? "box head" : map.box.source;
      lines.push(`${source} ${boxText(map.box.xyxy)}, agreement ${agreement.toFixed(2)}`);
    }
    if (figure.truth.length) {
      const best = largest === null ? 0 : Math.max(...figure.truth.map((box) => mapMath.iouOf(box, largest)));
      const boxes = figure.truth.length === 1 ? "true box" : `nearest of ${figure.truth.length} true boxes`;
      lines.push(`IoU with the ${boxes} (green) ${best.toFixed(2)}`);
    }
    if (map.box?.doubt && controls["own-threshold"].checked) lines.push(map.box.doubt);
    figure.facts.replaceChildren(...lines.flatMap((line, at) => (at ? [make("br"), line] : [line])));
    figure.element.dataset.boxes = JSON.stringify(regions.map((each) => each.xyxy));
    figure.canvas.setAttribute("aria-label", `${name}: ${lines.join("; ")}`);
  }

  // ---- what is in view is drawn, one map at a time, so that sliders stay quick

  const inView = new Set();
  let busy = false;

  function refresh(some) {
    for (const card of some) for (const figure of card.maps) figure.dirty = true;
    work();
  }

  async function work() {
    if (busy) return;
    busy = true;
    for (;;) {
      const next = [...inView].flatMap((card) => card.maps).find((figure) => figure.dirty);
      if (next === undefined) break;
      next.dirty = false;
      try {
        await draw(next);
      } catch (error) {
        next.facts.textContent = `The map cannot be drawn: ${error.message}`;
      }
      await new Promise((done) => setTimeout(done));
    }
    busy = false;
    document.body.dataset.idle = [...inView].every((card) => card.state === "shown");
  }

  function enter(card) {
    inView.add(card);
    document.body.dataset.idle = false;
    if (card.state === "empty") {
      card.state = "loading";
      detailOf(card.number)
        .then((detail) => show(card, detail))
        .catch((error) => card.body.replaceChildren(make("p", { className: "notice" }, error.message)))
        .finally(() => {
          card.state = "shown";
          work();
        });
    } else work();
  }

  const watcher = new IntersectionObserver(
    (changes) => {
      for (const change of changes) {
        const card = cardOf.get(change.target);
        if (change.isIntersecting) enter(card);
        else inView.delete(card);
      }
      work();
    },
    { rootMargin: AHEAD },
  );

  // ---- sort and filter

  const missingLast = (value, descending) => value ?? (descending ? -Infinity : Infinity);
  const byNumber = (key, descending) => (a, b) => {
    const [left, right] = [a, b].map((card) => missingLast(card.image[key], descending));
    if (left === right) return a.number - b.number;
    return descending ? right - left : left - right;
  };
  const byText = (key) => (a, b) =>
    a.image[key].localeCompare(b.image[key], undefined, { numeric: true }) || a.number - b.number;
  const SORTS = {
    weight: ["most to check first", (a, b) => b.image.weight - a.image.weight || byNumber("score", false)(a, b)],
    number: ["order of the run", (a, b) => a.number - b.number],
    name: ["name", byText("name")],
    label: ["label", byText("label")],
    status: ["status", byText("status")],
    lowest: ["score, lowest first", byNumber("score", false)],
    highest: ["score, highest first", byNumber("score", true)],
    agreement: ["agreement of box and map, lowest first", byNumber("agreement", false)],
    error: ["error of the map, largest first", byNumber("error", true)],
  };

  const given = (control) => (control.value === "" ? null : Number(control.value));

  function passes({ image }) {
    const text = controls.search.value.trim().toLowerCase();
    if (text && !`${image.name}\n${image.label}`.toLowerCase().includes(text)) return false;
    if (controls.label.selectedIndex > 0 && image.label !== controls.label.value) return false;
    if (controls.status.selectedIndex > 0 && image.status !== controls.status.value) return false;
    if (controls.doubtful.checked && !image.concerns.length) return false;
    const limits = [
      ["score", given(controls["most-score"]), (value, limit) => value <= limit],
      ["agreement", given(controls["most-agreement"]), (value, limit) => value <= limit],
      ["error", given(controls["least-error"]), (value, limit) => value >= limit],
    ];
    return limits.every(([key, limit, holds]) => limit === null || (image[key] != null && holds(image[key], limit)));
  }

  function arrange() {
    const chosen = cards.filter(passes).sort(SORTS[controls.sort.value][1]);
    document.getElementById("cards").replaceChildren(...chosen.map((card) => card.item));
    document.getElementById("shown").textContent = `${chosen.length} of ${cards.length} images shown`;
    watcher.disconnect();
    inView.clear();
    for (const card of chosen) watcher.observe(card.item);
  }

  function options(select, values, first) {
    const rows = values.map(([value, text]) => make("option", { value }, text));
    select.replaceChildren(...(first ? [make("option", { value: "" }, first)] : []), ...rows);
  }

  /** The colours over a grey ground, as they look over a grey photo. */
  function drawBar() {
    const bar = document.getElementById("bar");
    const heat = new Float32Array(bar.width * bar.height).map((_, at) => (at % bar.width) / (bar.width - 1));
    const pixels = mapMath.paint(heat, palette, controls.opacity.value / 100);
    bar.getContext("2d").putImageData(new ImageData(pixels, bar.width, bar.height), 0, 0);
  }

  function labelSliders() {
    drawBar();
    document.getElementById("opacity-value").textContent = percent(controls.opacity.value / 100);
    const own = controls["own-threshold"].checked;
    document.getElementById("threshold-value").textContent = own ? "own" : percent(controls.threshold.value / 100);
    controls.threshold.setAttribute("aria-valuetext", own ? "each method's own" : percent(controls.threshold.value / 100));
  }

  const values = (key) => [...new Set(data.images.map((image) => image[key]))].filter(Boolean).sort();
  options(controls.sort, Object.entries(SORTS).map(([value, [text]]) => [value, text]));
  options(controls.label, values("label").map((label) => [label, label]), "all");
  options(controls.status, values("status").map((status) => [status, words(status)]), "all");
  controls.opacity.value = controls.opacity.defaultValue = Math.round(100 * data.alpha);
  labelSliders();

  document.getElementById("plots").append(...data.plots.map((plot) => plots.figureOf(plot, make)));

  const redraw = () => {
    labelSliders();
    document.body.dataset.idle = false;
    refresh(cards);
  };
  controls.threshold.addEventListener("input", () => {
    controls["own-threshold"].checked = false;
    redraw();
  });
  for (const id of ["opacity", "own-threshold", "show-boxes"]) controls[id].addEventListener("input", redraw);
  for (const id of ["sort", "search", "label", "status", "most-score", "most-agreement", "least-error", "doubtful"]) {
    controls[id].addEventListener("input", arrange);
  }
  const form = document.getElementById("controls");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => (redraw(), arrange())));
  arrange();
})();
