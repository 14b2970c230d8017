// npm run bench:report-shot: opens reports of `gpt-oss bench report` in Chromium, tries them, and takes screenshots.
//
//   node test/commands/report-shot.mjs [--out FOLDER] [FILE ...]      FILE: rows of a bench
//
// Without --out it writes the screenshot of docs/benchmarks.md. Without a FILE it takes those of bench/baseline that this
// page shows. Rows with hostile names come last.
// A page must draw every plot in dark and in light, say what a point is, sort and copy its tables, choose every value,
// ask for nothing, and run no program but its own.
//
// Exits 1 when a page fails, 2 without Chromium, when nothing was checked.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const root = path.resolve(import.meta.dirname, "../..");

function findChromium() {
  const names = [process.env.CHROMIUM, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  return names.find((name) => name && spawnSync(name, ["--version"]).status === 0);
}

/** A browser without a window. It speaks the DevTools protocol on two pipes: messages of JSON, each ended by a zero. */
class Chromium {
  #process;
  #waiting = new Map();
  #listeners = new Set();
  #last = 0;
  #rest = "";

  constructor(program, folder) {
    const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"];
    this.#process = spawn(program, [...flags, `--user-data-dir=${folder}`], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    this.#process.stdio[4].setEncoding("utf8").on("data", (text) => this.#take(text));
    this.#process.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("Chromium ended"));
    });
  }

  #take(text) {
    const messages = (this.#rest + text).split("\0");
    this.#rest = messages.pop();
    for (const message of messages.map((one) => JSON.parse(one))) {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error) waiting?.reject(new Error(message.error.message));
      else waiting?.resolve(message.result);
      if (message.method) for (const listener of this.#listeners) listener(message);
    }
  }

  onEvent(listener) {
    this.#listeners.add(listener);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = ++this.#last;
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  async close() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    await this.send("Browser.close").catch(() => {});
    await ended;
  }
}

/** A page of the browser: what it asked for and complained about is kept. */
class Page {
  requests = [];
  complaints = [];

  static async open(browser) {
    const page = new Page();
    const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
    page.send = (method, params) => browser.send(method, params, sessionId);
    browser.onEvent(({ method, params, sessionId: from }) => {
      if (from !== sessionId) return;
      if (method === "Network.requestWillBeSent") page.requests.push(params.request.url);
      if (method === "Runtime.exceptionThrown") page.complaints.push(params.exceptionDetails.exception?.description);
      if (method === "Log.entryAdded") page.complaints.push(params.entry.text);
    });
    for (const domain of ["Page", "Network", "Runtime", "Log"]) await page.send(`${domain}.enable`);
    return page;
  }

  async look({ url, scheme, width }) {
    this.requests = [];
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    await this.send("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: false });
    await this.send("Page.navigate", { url });
    for (let tries = 0; ; tries++) {
      if ((await this.evaluate("document.documentElement?.dataset.ready")) === "true") break;
      assert(tries < 100, `the page is not ready after 10 s: ${this.complaints.join("; ")}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async evaluate(expression) {
    const options = { expression, returnByValue: true, awaitPromise: true, userGesture: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", options);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Of the whole page, or of so many pixels from the first plot on. */
  async screenshot(file, height) {
    const { cssContentSize: size } = await this.send("Page.getLayoutMetrics");
    const y = height === undefined ? 0 : await this.evaluate("document.querySelector('.plots').offsetTop - 16");
    const clip = { x: 0, y, width: size.width, height: height ?? size.height, scale: 1 };
    const { data } = await this.send("Page.captureScreenshot", { format: "png", captureBeyondViewport: true, clip });
    writeFileSync(file, Buffer.from(data, "base64"));
  }
}

/** Counts the colours of each plot: an empty one has almost none. */
const colorsOfPlots = `[...document.querySelectorAll(".chart canvas")].map((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
})`;

/** Sorts the last table by its last column, and gives what a click on "Copy as Markdown" copied. */
const sortedAndCopied = `(async () => {
  const section = [...document.querySelectorAll(".rows")].at(-1);
  const heads = section.querySelectorAll("thead button");
  heads[heads.length - 1].click();
  let copied = null;
  navigator.clipboard.writeText = async (text) => { copied = text; };
  section.querySelector(".copy").click();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const order = [...section.querySelectorAll("tbody tr")].map((row) => Number([...row.cells].at(-1).dataset.sort));
  return { copied, order, sort: [...section.querySelectorAll("th")].at(-1).ariaSort };
})()`;

/** Moves the mouse over the first plot until a point says what it is, and gives its words. */
async function wordsOfPoint(page) {
  const rectangle = "JSON.stringify(document.querySelector('.u-over').getBoundingClientRect())";
  await page.evaluate("document.querySelector('.chart').scrollIntoView()");
  const { left, top, width, height } = JSON.parse(await page.evaluate(rectangle));
  for (let x = left + 5; x < left + width; x += 20) {
    for (let y = top + 5; y < top + height; y += 20) {
      await page.send("Input.dispatchMouseEvent", { type: "mouseMoved", x, y });
      const words = await page.evaluate("document.querySelector('.chart .note:not([hidden])')?.textContent");
      if (words) return words;
    }
  }
  return null;
}

/** Chooses every value in turn, and gives the counts of plots. */
const plotsOfChoices = `[...document.querySelectorAll(".plots")].flatMap((section) => {
  const choice = section.querySelector("select");
  return [...(choice?.options ?? [])].map(({ value }) => {
    choice.value = value;
    choice.dispatchEvent(new Event("change"));
    return section.querySelectorAll("canvas").length;
  });
})`;

async function check(page, look) {
  await page.look(look);
  const colors = await page.evaluate(colorsOfPlots);
  assert(colors.length > 0 && Math.min(...colors) > 20, `a plot is empty: ${colors}`);
  const overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  assert.equal(overflow, 0, "the page is wider than its window");
}

async function checkDeeds(page) {
  const { copied, order, sort } = await page.evaluate(sortedAndCopied);
  assert.deepEqual(
    order,
    order.toSorted((a, b) => a - b),
  );
  assert.equal(sort, "ascending");
  const lines = copied.trimEnd().split("\n");
  assert.equal(lines.length, order.length + 2);
  const cells = (line) => line.replaceAll("\\|", "").split("|").length;
  assert.deepEqual(new Set(lines.map(cells)).size, 1);
  assert.match(await wordsOfPoint(page), /\S\n\S/);
  assert((await page.evaluate(plotsOfChoices)).every((count) => count > 0));
  assert.deepEqual(page.requests.length, 1, `the page asked for ${page.requests}`);
  assert.deepEqual(page.complaints, []);
}

function report(files, page) {
  execFileSync(process.execPath, [path.join(root, "dist/cli/main.js"), "bench", "report", ...files, "-o", page], {
    stdio: "pipe",
  });
  return pathToFileURL(page).href;
}

/** Rows of several benches whose texts try to become elements. */
function hostileFile(folder) {
  const evil = `</script><script>document.title = "evil"</script><img src=x onerror='document.title = "evil"'>|`;
  const value = (unit, median) => ({ unit, better: "less", median, min: median / 2, max: median * 2 });
  const row = (bench, name, parameters, values) =>
    JSON.stringify({ schema: 1, bench, name, parameters, values, about: { time: evil, cpu: evil, cores: 2 } });
  const serve = [1, 8, 32].map((concurrency) =>
    row(
      "serve",
      "closed-loop",
      { model: evil, concurrency, requests: 4 * concurrency },
      {
        e2e: value("ms", 90 * concurrency),
        outputThroughput: value("tokens/s", 200 + concurrency),
        ttft: value("ms", 20 * concurrency),
        ttftP99: value("ms", 60 * concurrency),
      },
    ),
  );
  const startup = ["open", "load"].map((name, i) =>
    row("startup", name + evil, { note: evil }, { time: value("ms", 10 + i) }),
  );
  const file = path.join(folder, "<b>hostile & 'odd'.jsonl");
  writeFileSync(file, [...serve, ...startup].join("\n"));
  return file;
}

const { values: flags, positionals } = parseArgs({ allowPositionals: true, options: { out: { type: "string" } } });
const program = findChromium();
if (program === undefined) {
  console.error("NOT RUN: no chromium or google-chrome on PATH, and CHROMIUM names none");
  process.exit(2);
}
const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-report-"));
const out = path.resolve(flags.out ?? path.join(root, "docs/images"));
mkdirSync(out, { recursive: true });
const browser = new Chromium(program, path.join(folder, "profile"));
try {
  const page = await Page.open(browser);
  const shown = ["kernels-20b-avx2", "kernels-20b-avx512bf16"].map((name) =>
    path.join(root, "bench/baseline", `${name}.jsonl`),
  );
  const url = report(positionals.length > 0 ? positionals : shown, path.join(folder, "report.html"));
  for (const scheme of ["light", "dark"]) {
    await check(page, { url, scheme, width: 1280 });
    if (flags.out) await page.screenshot(path.join(out, `bench-report-${scheme}.png`));
    else if (scheme === "light") await page.screenshot(path.join(out, "bench-report.png"), 1000);
    await checkDeeds(page);
    await check(page, { url, scheme, width: 400 });
    if (flags.out) await page.screenshot(path.join(out, `bench-report-${scheme}-narrow.png`));
  }
  const hostile = report([hostileFile(folder), shown[0]], path.join(folder, "hostile.html"));
  await check(page, { url: hostile, scheme: "dark", width: 1280 });
  if (flags.out) await page.screenshot(path.join(out, "bench-report-hostile.png"));
  await checkDeeds(page);
  assert.match(await page.evaluate("document.title"), /^gpt-oss bench: /);
  assert.equal(await page.evaluate("document.querySelectorAll('b, img, body script:not([id])').length"), 2);
  console.log(`The pages are good; screenshots are in ${path.relative(process.cwd(), out)}`);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
