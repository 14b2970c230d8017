import type { BenchRow, BenchValue } from "../rows.js";
import { shownUnit, textOf } from "../table.js";
import { type Axis, type Chart, type FreeSeries, logOf, type Point, sharedColumns } from "./chart.js";
import { benchesOf, type ReportFile } from "./files.js";
import { differingWithin, facets, parametersText, titleOf } from "./parameters.js";
import { roofline } from "./roofline.js";
import { type Curve, type Sweep, sweepsOf } from "./sweeps.js";

/** The plots of a bench. */
export interface Section {
  bench: string;
  /** Values of which the reader chooses one; the first one is shown first. */
  measures: string[];
  charts: Chart[];
}

export function sectionsOf(files: readonly ReportFile[]): Section[] {
  return benchesOf(files).map((bench) => sectionOf(bench, files));
}

/** Values that one chart shows together. */
interface Panel {
  title: string | null;
  measure: string | null;
  values: string[];
}

const always = (title: string, ...values: string[]): Panel => ({ title, measure: null, values });
const latency = (title: string, name: string) => always(title, name, `${name}P99`); // a mean would lie on the median

/** These have a few values that all matter; of any other bench the reader chooses one. */
const fixedPanels: Readonly<Record<string, readonly Panel[]>> = {
  serve: [
    always("throughput", "outputThroughput", "totalThroughput"),
    always("requests", "requestThroughput", "goodput"),
    latency("time to the first token", "ttft"),
    latency("time per token", "tpot"),
    latency("gap between tokens", "itl"),
    latency("whole answer", "e2e"),
  ],
  // The time of a prompt or of a token is the inverse of its throughput.
  engine: [
    always("throughput", "throughput", "outputThroughput"),
    always("bandwidth", "bandwidth", "roofBandwidth"),
    latency("time to the first token", "ttft"),
    latency("gap between tokens", "itl"),
    always("delay of the event loop", "eventLoopDelay"),
  ],
  startup: [
    always("time of a start", "imported", "load", "ready", "firstToken"),
    always("memory", "resident", "residentPeak"),
  ],
};

function panelsOf(bench: string, rows: readonly BenchRow[]): Panel[] {
  const fixed = Object.hasOwn(fixedPanels, bench) ? fixedPanels[bench]! : [];
  const measured = fixed.filter(({ values }) => rows.some((row) => values.some((name) => row.values[name])));
  if (measured.length > 0) return measured;
  const names = [...new Set(rows.flatMap(({ values }) => Object.keys(values)))];
  // The bandwidth tells at a glance how near a kernel is to memory's roof, which binds when tokens are decoded.
  if (bench === "kernels") names.sort((a, b) => Number(b === "bandwidth") - Number(a === "bandwidth"));
  return names.map((name) => ({ title: null, measure: name, values: [name] }));
}

function sectionOf(bench: string, files: readonly ReportFile[]): Section {
  const own = files.map(({ rows }) => rows.filter((row) => row.bench === bench));
  const panels = panelsOf(bench, own.flat());
  const groups = [...new Set(own.flat().map(titleOf))].map((title) => {
    const rows = own.map((all) => all.filter((row) => titleOf(row) === title));
    return { title, rows, sweeps: sweepsOf(rows) };
  });
  const names = files.map(({ name }) => name);
  const curves = groups.flatMap(({ title, sweeps }) =>
    sweeps.flatMap((sweep) =>
      panels.flatMap((panel) => {
        const over = sweeps.length > 1 ? ` over ${sweep.parameter}` : "";
        const what = panel.title ? `: ${panel.title}` : "";
        return sweepChart(title + over + what, sweep, panel, names) ?? [];
      }),
    ),
  );
  const still = groups.filter(({ sweeps }) => sweeps.length === 0).map(({ rows }) => rows);
  const bars = panels.flatMap((panel) => barCharts(bench, still, panel, names));
  const roofs = bench === "kernels" ? roofline(files) : null;
  return {
    bench,
    measures: [...new Set(panels.flatMap(({ measure }) => measure ?? []))],
    charts: [...(roofs ? [roofs] : []), ...curves, ...bars],
  };
}

/** Curves with a colour for each variant, or for each file where there is one variant, and dashes for each file. */
function sweepChart(title: string, sweep: Sweep, panel: Panel, names: readonly string[]): Chart | null {
  const shown = panel.values.filter((name) =>
    sweep.curves.some(({ points }) => points.some((p) => p.row.values[name])),
  );
  const kinds = sweep.curves.flatMap(({ variant }) => shown.map((value) => `${variant} ${value}`));
  const colors = [...new Set(kinds)];
  const series = sweep.curves.flatMap((curve) =>
    shown.flatMap((value): FreeSeries[] => {
      const label = labelOf([
        names.length > 1 ? names[curve.file]! : "",
        curve.variant,
        shown.length > 1 ? value : "",
        names[curve.file]!,
      ]);
      const points = pointsOf(curve, value, label, sweep.parameter);
      if (points.length === 0) return [];
      const color = colors.length === 1 ? curve.file : colors.indexOf(`${curve.variant} ${value}`);
      return [{ label, color, style: curve.file, shape: "line", points }];
    }),
  );
  if (series.length === 0) return null;
  series.sort((a, b) => a.color! - b.color!); // in a legend, what is compared stands side by side
  const first = sweep.curves.flatMap(({ points }) => points).find(({ row }) => row.values[shown[0]!])!;
  const xs = series.flatMap(({ points }) => points.map(({ x }) => x));
  const roofs = memoryRoofs(sweep, shown, names);
  const ys = [...series, ...roofs].flatMap(({ points }) => points.map(({ y }) => y));
  const unit = unitOf(first.row.values[shown[0]!]!);
  return {
    title,
    measure: panel.measure,
    isWide: false,
    x: { title: axisTitle(sweep.parameter), log: logOf(xs, 2, 4), categories: null },
    y: yAxis(panel.title ? unit : `${shown[0]}, ${unit}`, ys, 20),
    ...sharedColumns([...series, ...roofs]),
  };
}

/** The last part stands in for the others where they are empty. */
function labelOf(parts: readonly string[]): string {
  const said = parts.slice(0, -1).filter((part) => part !== "");
  return said.length > 0 ? said.join(" · ") : parts.at(-1)!;
}

function pointsOf({ points }: Curve, value: string, label: string, parameter: string): Point[] {
  return points.flatMap(({ x, row }) => {
    const one = row.values[value];
    return one ? [{ x, y: scaled(one), note: `${label}\n${parameter} ${x}\n${valueText(one)}` }] : [];
  });
}

/** The rate of memory in the charts of bandwidth. */
function memoryRoofs({ curves }: Sweep, shown: readonly string[], names: readonly string[]): FreeSeries[] {
  if (shown[0] !== "bandwidth") return [];
  const xs = curves.flatMap(({ points }) => points.map(({ x }) => x));
  return names.flatMap((name, file): FreeSeries[] => {
    const rates = curves
      .filter((curve) => curve.file === file)
      .flatMap(({ points }) => points.map(({ row }) => row.about.roofBytesPerSecond))
      .filter((rate) => typeof rate === "number");
    if (rates.length === 0) return [];
    const label = `${names.length > 1 ? `${name} · ` : ""}roof of memory`;
    const y = Math.max(...rates) / 1e9;
    const points = [Math.min(...xs), Math.max(...xs)].map((x) => ({ x, y, note: label }));
    return [{ label, color: null, style: file, shape: "line", points }];
  });
}

/** Rows without a sweep, as bars: a chart for each unit. */
function barCharts(bench: string, groups: BenchRow[][][], panel: Panel, names: readonly string[]): Chart[] {
  const bars = groups.flatMap((rows) => {
    const varying = differingWithin(rows).filter((name) => !facets.includes(name));
    return rows.flatMap((own, file) =>
      own.flatMap((row) =>
        panel.values.flatMap((name) => {
          const value = row.values[name];
          const kind = panel.values.length > 1 ? name : "";
          const category = [titleOf(row), parametersText(row.parameters, varying), kind].filter((one) => one !== "");
          return value ? [{ file, category: category.join(", "), value }] : [];
        }),
      ),
    );
  });
  return [...new Set(bars.map(({ value }) => value.unit))].map((unit) => {
    const own = bars.filter(({ value }) => value.unit === unit);
    const categories = [...new Set(own.map(({ category }) => category))];
    // The bars of a category stand side by side: each file has its own shift.
    const width = 0.8 / names.length;
    const series = names.flatMap((name, file): FreeSeries[] => {
      const points = own
        .filter((bar) => bar.file === file)
        .map(({ category, value }) => ({
          x: categories.indexOf(category) + (file - (names.length - 1) / 2) * width,
          y: scaled(value),
          note: `${name}\n${category}\n${valueText(value)}`,
        }));
      return points.length > 0 ? [{ label: name, color: file, style: file, shape: "bar", points }] : [];
    });
    const ys = own.map(({ value }) => scaled(value));
    const title = panel.title ?? `${bench}: ${panel.measure}`;
    return {
      title,
      measure: panel.measure,
      isWide: false,
      x: { title: "", log: null, categories },
      y: yAxis(unitOf(own[0]!.value), ys, 100),
      ...sharedColumns(series),
    };
  });
}

function yAxis(title: string, ys: readonly number[], span: number): Axis {
  return { title, log: logOf(ys, 10, span), categories: null };
}

function axisTitle(parameter: string): string {
  return parameter === "rate" ? "rate, requests/s" : parameter;
}

function scaled({ unit, median }: BenchValue): number {
  return median * shownUnit(unit).factor;
}

const unitOf = ({ unit }: BenchValue): string => (unit === "us" ? "µs" : shownUnit(unit).name);

export function valueText(value: BenchValue): string {
  return `${textOf(value, true)} ${unitOf(value)}`;
}
