// The hardware's counters for the kernels of a decode step, by Nsight Compute. They show why a kernel misses its roof.
// It runs kernels one after the other, so nothing overlaps here; `stages` measures the cost of a kernel in a step.
import { digits, median } from "./report.mjs";

/** The names of the metrics in Nsight Compute, and in a row. */
const metrics = {
  "gpu__time_duration.sum": "nanoseconds",
  "dram__bytes_read.sum": "readBytes",
  "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dramPercent",
  "lts__t_sector_hit_rate.pct": "l2HitPercent",
  "smsp__issue_active.avg.pct_of_peak_sustained_active": "issuePercent",
  "sm__inst_executed_pipe_alu.avg.pct_of_peak_sustained_active": "aluPercent",
  "l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed": "dataPathPercent",
  "sm__warps_active.avg.pct_of_peak_sustained_active": "warpsPercent",
};
/** The metrics that every version has: the request if Nsight Compute refuses the others. */
const known = Object.keys(metrics).slice(0, 3);

/** Arguments of ncu for a program that decodes. They select launches of the fused kernels when graphs are replayed. */
export function counterArguments(program, args, { all = true } = {}) {
  return [
    ...["--csv", "--page", "raw", "--print-units", "base", "--clock-control", "none"], // same clocks as other figures
    ...["--kernel-name-base", "demangled", "--kernel-name", "regex:few_gate|few_down|split_kernel|matrix_stream"],
    ...["--launch-skip", "400", "--launch-count", "72"],
    ...["--metrics", (all ? Object.keys(metrics) : known).join()],
    program,
    ...args,
  ];
}

function cells(line) {
  return [...line.matchAll(/"((?:[^"]|"")*)"/g)].map(([, cell]) => cell.replaceAll('""', '"'));
}

/** "matrix_stream_kernel<2, false, NormedRows<false>, QkvEpilogue>" of a demangled name. */
function kernelName(demangled) {
  return demangled
    .replace(/\(anonymous namespace\)::|<unnamed>::|oss::cuda::|oss::/g, "")
    .replace(/\((?:int|bool|unsigned int)\)/g, "")
    .replace(/^void /, "")
    .replace(/\(.*/, "");
}

/**
 * Turns the output of ncu into rows of the result: one for each kernel and grid, medians over its launches. Depending
 * on version and page, each metric is a column or a line.
 */
export function counterRows(model, text) {
  const lines = text.split("\n").filter((line) => line.startsWith('"'));
  const head = cells(lines[0] ?? "");
  const kernels = new Map();
  for (const line of lines.slice(1).map(cells)) {
    const of = Object.fromEntries(head.map((name, i) => [name, line[i]]));
    if (!of.ID || !of["Kernel Name"]) continue; // units
    const kernel = kernelName(of["Kernel Name"]);
    const grid = of["Grid Size"] ?? "";
    const key = `${kernel} ${grid}`;
    if (!kernels.has(key)) kernels.set(key, { kernel, grid, launches: new Set(), values: {} });
    const { launches, values } = kernels.get(key);
    launches.add(of.ID);
    const read = of["Metric Name"] ? { [of["Metric Name"]]: of["Metric Value"] } : of;
    for (const [metric, name] of Object.entries(metrics)) {
      const value = Number(read[metric]?.replaceAll(",", "") || Number.NaN);
      if (Number.isFinite(value)) values[name] = [...(values[name] ?? []), value];
    }
  }
  return [...kernels.values()].map(({ kernel, grid, launches, values }) => ({
    ...{ bench: "counters", model, kernel, grid, launches: launches.size },
    ...Object.fromEntries(Object.entries(values).map(([name, of]) => [name, digits(median(of))])),
  }));
}
