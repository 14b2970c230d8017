// The targets for decode on an H200, beside the results of a file:
//
//   node bench/gpu/targets.mjs bench/results/FILE.jsonl
//
// check.mjs prints the same table at the end.
import { pathToFileURL } from "node:url";
import { median } from "./report.mjs";
import { readResults } from "./results.mjs";

/** Tokens per second of all streams together, after prompts of `context` tokens; `stretch` is optional. */
export const context = 2048;
export const targets = [
  { model: "synthetic:120b", batch: 1, target: 600, stretch: 660 },
  { model: "synthetic:120b", batch: 8, target: 1400 },
  { model: "synthetic:120b", batch: 16, target: 1750 },
  { model: "synthetic:20b", batch: 1, target: 800, stretch: 890 },
  { model: "synthetic:20b", batch: 8, target: 2500 },
  { model: "synthetic:20b", batch: 16, target: 4200 },
];

/** Seconds from the start of a process to the first token of the 120b, its files in the page cache. */
export const startTarget = 6;

const percent = (share) => `${Math.round(100 * share)} %`;

/** "median [least..greatest]". */
const spread = (values) => `${median(values)} [${Math.min(...values)}..${Math.max(...values)}]`;

/** Returns Markdown in the order of `targets`; a value that the result lacks is "not measured". */
export function targetTable(rows) {
  const lines = targets.map(({ model, batch, target, stretch }) => {
    const row = rows.find(
      (one) => one.bench === "decode" && one.model === model && one.batch === batch && one.prompt === context,
    );
    const wanted = stretch ? `${target} (${stretch})` : `${target}`;
    const { tokensPerSecond, range, roofShare } = row ?? {};
    const reached = tokensPerSecond
      ? [`${tokensPerSecond} [${range.join("..")}]`, percent(tokensPerSecond / target), percent(roofShare)]
      : ["not measured", "", ""];
    return `| ${[model.replace("synthetic:", ""), batch, wanted, ...reached].join(" | ")} |`;
  });
  const starts = rows
    .filter((one) => one.bench === "load" && one.model === "120b")
    .flatMap(({ startToFirstTokenSeconds: seconds }) => seconds ?? []);
  return [
    "| model | batch | target (stretch) tok/s | reached, median [least..greatest] | of the target | of its byte roof |",
    "| --- | --- | --- | --- | --- | --- |",
    ...lines,
    "",
    `Start to first token, 120b, files in the page cache: target ${startTarget} s, ${starts.length ? `${spread(starts)} s` : "not measured"}.`,
  ].join("\n");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [, , file] = process.argv;
  if (!file) {
    console.error("node bench/gpu/targets.mjs bench/results/FILE.jsonl");
    process.exit(2);
  }
  const { head, rows } = readResults(file);
  console.log(`${head.gpu}, commit ${head.commit}\n\n${targetTable(rows)}`);
}
