// The program of a report, inside its page. `page.ts` puts it there as it is.
const uPlot = globalThis.uPlot;

/** Dashes of lines and of their marks in a legend, by file; points of every second file are hollow. */
const dashes = [[], [7, 4], [2, 3], [10, 4, 2, 4]];
const borders = ["solid", "dashed", "dotted", "double"];

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colorOf = (series) => style(series.color === null ? "--quiet" : `--series-${series.color % 10}`);

/** Three digits, and no exponent where a person reads it at once. */
function tick(value) {
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e5) return String(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(0).replace("e+", "e");
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}

/** The least and the greatest value, with room around them. */
function range({ log }, isX) {
  return (_, min, max) => {
    if (min === null || max === null) return [log ? 1 : 0, 10];
    if (log) return isX ? [min / 1.15, max * 1.15] : [min / 1.5, max * 1.5];
    if (isX) return min === max ? [min - 1, max + 1] : [min - (max - min) * 0.03, max + (max - min) * 0.03];
    return [Math.min(0, min), max > 0 ? max * 1.08 : 1];
  };
}

/** Ticks of a decimal logarithmic axis: 1, 2, 5 of each power of ten, or all digits of a short axis. */
function decimalTicks(_plot, _axis, min, max) {
  const decades = Math.log10(max / min);
  const digits = decades > 4 ? [1] : decades > 1 ? [1, 2, 5] : [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const first = Math.floor(Math.log10(min));
  const powers = Array.from({ length: Math.ceil(decades) + 2 }, (_, i) => 10 ** (first + i));
  return powers.flatMap((power) => digits.map((digit) => digit * power)).filter((tick) => tick >= min && tick <= max);
}

function axisOf(axis, { scale, side, xs }) {
  const { categories } = axis;
  // The measured values themselves are the ticks, as 1, 4, 8, 32, where they are few.
  const measured = scale === "x" && axis.log === 2 && new Set(xs).size <= 10 ? [...new Set(xs)] : null;
  return {
    scale,
    side,
    stroke: style("--text"),
    font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif",
    grid: { stroke: style("--line"), width: 1, show: !categories },
    ticks: { stroke: style("--line"), width: 1, size: 5 },
    ...(axis.title !== "" && { label: axis.title, labelSize: 18, labelGap: 2 }),
    ...(categories
      ? {
          size: Math.min(280, 24 + 6.6 * Math.max(...categories.map((name) => name.length))),
          splits: () => categories.map((_, i) => i),
          values: () => categories.map((name) => (name.length > 40 ? `${name.slice(0, 39)}…` : name)),
        }
      : { values: (_, splits) => splits.map(tick), size: side === 3 ? 58 : 32 }),
    ...(axis.log && { filter: (_, splits) => splits }),
    ...(axis.log === 10 && { splits: decimalTicks }),
    ...(measured && { splits: () => measured }),
  };
}

function scaleOf(axis, isX) {
  return {
    time: false,
    range: axis.categories ? () => [-0.6, axis.categories.length - 0.4] : range(axis, isX),
    ...(axis.log && { distr: 3, log: axis.log }),
  };
}

function seriesOf(series) {
  const stroke = colorOf(series);
  const dash = dashes[series.style % dashes.length];
  const isBound = series.color === null;
  const isHollow = series.style % 2 === 1;
  const fill = isHollow ? style("--card") : stroke;
  if (series.shape === "bar")
    return {
      ...{ label: series.label, stroke, width: 1, fill: isHollow ? `${stroke}66` : stroke, points: { show: false } },
      paths: uPlot.paths.bars({ size: [0.9, 28] }),
    };
  return {
    label: series.label,
    stroke,
    dash,
    width: isBound ? 1.5 : 2,
    spanGaps: true,
    points: { show: !isBound, size: 8, width: 2, stroke, fill, dash: [] },
    ...(series.shape === "points" && { paths: () => null }),
  };
}

/** Says what the nearest point is, within a finger's width. */
function notes(chart, figure) {
  const reach = 24;
  const box = document.createElement("div");
  box.className = "note";
  box.hidden = true;
  figure.append(box);
  const isTurned = chart.x.categories !== null;
  return {
    hooks: {
      setCursor: (plot) => {
        const { left, top } = plot.cursor;
        let nearest = null;
        for (const [i, { ys, notes }] of left < 0 ? [] : chart.series.entries()) {
          if (!plot.series[i + 1].show) continue;
          for (const [at, y] of ys.entries()) {
            if (y === null || notes[at] === null) continue;
            const along = plot.valToPos(chart.xs[at], "x");
            const across = plot.valToPos(y, "y");
            const [px, py] = isTurned ? [across, along] : [along, across];
            // Anywhere on a bar is on it.
            const dx = isTurned && left < px ? 0 : left - px;
            const distance = Math.hypot(dx, top - py);
            if (distance <= reach && distance < (nearest?.distance ?? Infinity))
              nearest = { distance, px, py, note: notes[at] };
          }
        }
        box.hidden = nearest === null;
        if (nearest === null) return;
        box.textContent = nearest.note;
        const over = plot.over.getBoundingClientRect();
        const outer = figure.getBoundingClientRect();
        const x = over.left - outer.left + nearest.px + 12;
        const y = over.top - outer.top + nearest.py + 12;
        box.style.left = `${Math.max(0, Math.min(x, outer.width - box.offsetWidth - 4))}px`;
        box.style.top = `${y}px`;
      },
    },
  };
}

function draw(chart, figure) {
  const isTurned = chart.x.categories !== null;
  const bars = new Set(chart.xs).size;
  const title = document.createElement("h3");
  title.textContent = chart.title;
  figure.replaceChildren(title);
  const options = {
    width: figure.clientWidth - 24,
    height: isTurned ? 70 + 22 * bars : chart.isWide ? 440 : 270,
    padding: [10, 14, 0, 0],
    plugins: [notes(chart, figure)],
    cursor: { points: { show: false }, x: false, y: false, drag: { x: !isTurned, y: false } },
    legend: {
      live: false,
      markers: {
        width: 2,
        dash: (_, i) => borders[chart.series[i - 1].style % borders.length],
        fill: (_, i) => (chart.series[i - 1].style % 2 === 1 ? "transparent" : colorOf(chart.series[i - 1])),
      },
    },
    scales: {
      x: { ...scaleOf(chart.x, true), ...(isTurned && { ori: 1, dir: -1 }) },
      y: { ...scaleOf(chart.y, false), ...(isTurned && { ori: 0, dir: 1 }) },
    },
    axes: [
      axisOf(chart.x, { scale: "x", side: isTurned ? 3 : 2, xs: chart.xs }),
      axisOf(chart.y, { scale: "y", side: isTurned ? 2 : 3, xs: [] }),
    ],
    series: [{}, ...chart.series.map(seriesOf)],
  };
  return new uPlot(options, [chart.xs, ...chart.series.map(({ ys }) => ys)], figure);
}

const sections = JSON.parse(document.getElementById("sections").textContent);
/** The plots that can be seen, with what they show. */
const drawn = [];

for (const section of document.querySelectorAll(".plots")) {
  const { charts, measures } = sections[section.dataset.section];
  const choice = section.querySelector("select");
  const show = () => {
    const measure = choice?.value ?? measures[0] ?? null;
    const shown = charts.filter((chart) => chart.measure === null || chart.measure === measure);
    const figures = shown.map((chart) => {
      const figure = document.createElement("figure");
      figure.className = chart.isWide ? "chart wide" : "chart";
      return figure;
    });
    for (const one of drawn.filter((each) => each.section === section)) one.plot.destroy();
    drawn.splice(0, drawn.length, ...drawn.filter((each) => each.section !== section));
    section.querySelector(".charts").replaceChildren(...figures);
    for (const [i, chart] of shown.entries())
      drawn.push({ section, chart, figure: figures[i], plot: draw(chart, figures[i]) });
  };
  choice?.addEventListener("change", show);
  show();
}

function redraw() {
  for (const one of drawn) {
    one.plot.destroy();
    one.plot = draw(one.chart, one.figure);
  }
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
let waiting = 0;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(redraw, 150);
});

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const isUp = heads[column].getAttribute("aria-sort") !== "ascending";
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", isUp ? "ascending" : "descending");
  const compare = (a, b) => {
    const [x, y] = [a.cells[column], b.cells[column]];
    const [xNumber, yNumber] = [x.dataset.sort, y.dataset.sort];
    if (xNumber !== undefined && yNumber !== undefined) return Number(xNumber) - Number(yNumber);
    if (xNumber !== undefined || yNumber !== undefined) return xNumber !== undefined ? -1 : 1;
    return x.textContent.localeCompare(y.textContent, "en", { numeric: true });
  };
  const rows = [...table.tBodies[0].rows].sort((a, b) => (isUp ? compare(a, b) : compare(b, a)));
  table.tBodies[0].append(...rows);
}

/** The table in its order, as Markdown. */
function markdownOf(table) {
  const cell = ({ textContent }) => textContent.replaceAll("\\", "\\\\").replaceAll("|", "\\|").replace(/\s+/g, " ");
  const lines = [...table.rows].map((row) => `| ${[...row.cells].map(cell).join(" | ")} |`);
  const rule = [...table.tHead.rows[0].cells].map((head) => (head.classList.contains("number") ? "---:" : "---"));
  return `${[lines[0], `| ${rule.join(" | ")} |`, ...lines.slice(1)].join("\n")}\n`;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Some browsers give no clipboard to a page from disk; they do copy what is selected.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }
}

for (const section of document.querySelectorAll(".rows")) {
  const table = section.querySelector("table");
  for (const [column, head] of [...table.tHead.rows[0].cells].entries())
    head.querySelector("button")?.addEventListener("click", () => sortBy(table, column));
  const button = section.querySelector(".copy");
  button.addEventListener("click", async () => {
    const label = button.textContent;
    button.textContent = (await copy(markdownOf(table))) ? "Copied" : "Not copied";
    setTimeout(() => (button.textContent = label), 1500);
  });
}
document.documentElement.dataset.ready = "true";
