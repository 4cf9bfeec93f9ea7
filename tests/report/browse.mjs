// Opens reports in a headless browser and prints what was found there as JSON.
// node browse.mjs FOLDER-WITH-PLAYWRIGHT-CORE CHROMIUM JSON, where JSON lists {page, scheme, size, steps, shots}.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, executablePath, plan] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/`));
const { chromium } = require("playwright-core");

const STEPS = {
  // Each returns a value, which stands in the answer under the step's position.
  cards: (page) =>
    page.$$eval("#cards > li", (items) =>
      items.map((item) => ({
        name: item.querySelector("h2").textContent,
        head: item.querySelector(".head").textContent,
        shown: item.querySelector(".pictures, .notice") !== null,
        body: item.querySelector(".body").textContent,
      })),
    ),
  maps: (page) =>
    page.$$eval("figure.map", (figures) =>
      figures.map((figure) => ({
        card: figure.closest("li").querySelector("h2").textContent,
        method: figure.dataset.method,
        run: Number(figure.dataset.run),
        boxes: figure.dataset.boxes === undefined ? null : JSON.parse(figure.dataset.boxes),
        caption: figure.querySelector("figcaption").textContent,
        alt: figure.querySelector("canvas").getAttribute("aria-label"),
      })),
    ),
  ink: (page) =>
    page.$$eval("figure.map canvas", (canvases) =>
      canvases.map((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let sum = 0;
        for (let i = 3; i < data.length; i += 4) sum += data[i];
        return sum;
      }),
    ),
  text: (page, selector) => page.textContent(selector),
  alt: (page, selector) => page.getAttribute(selector, "aria-label"),
  count: (page, selector) => page.$$eval(selector, (found) => found.length),
  press: async (page, selector, key, times = 1) => {
    await page.focus(selector);
    for (let i = 0; i < times; i++) await page.keyboard.press(key);
  },
  fill: (page, selector, value) => page.fill(selector, value),
  choose: (page, selector, value) => page.selectOption(selector, value),
  click: (page, selector) => page.click(selector),
  tick: (page, selector, on) => page.setChecked(selector, on),
  value: (page, selector) => page.inputValue(selector),
  end: (page) => page.evaluate(() => window.scrollTo(0, document.body.scrollHeight)),
  wide: (page) => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth),
  shot: (page, path, fullPage = false) => page.screenshot({ path, fullPage }).then(() => path),
  axe: async (page) => {
    await page.evaluate(require("node:fs").readFileSync(require.resolve("axe-core/axe.min.js"), "utf-8"));
    const { violations } = await page.evaluate(() => axe.run());
    return violations.map(({ id, nodes }) => ({ id, nodes: nodes.map(({ html }) => html) }));
  },
};

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
const answers = [];
for (const { page: path, scheme = "light", size = [1200, 900], steps } of JSON.parse(plan)) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width: size[0], height: size[1] } });
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  const trouble = [];
  const requests = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && trouble.push(message.text()));
  page.on("pageerror", (error) => trouble.push(String(error)));
  page.on("dialog", (dialog) => (trouble.push(`dialog ${dialog.message()}`), dialog.dismiss()));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(pathToFileURL(path).href);
  const found = [];
  for (const [name, ...given] of steps) {
    await page.waitForFunction(() => document.body.dataset.idle === "true" || !document.querySelector("#cards > li"));
    found.push((await STEPS[name](page, ...given)) ?? null);
    // The observer and the timers that a step started.
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30))));
  }
  const urls = requests.filter((url) => !url.startsWith("data:"));
  answers.push({ found, trouble, requests: urls });
  await context.close();
}
await browser.close();
process.stdout.write(JSON.stringify(answers));
