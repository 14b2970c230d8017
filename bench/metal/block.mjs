// The result of metal:check as a text of one block, to be sent and read by people. The same for a stored result:
//
//   node bench/metal/block.mjs bench/results/FILE.jsonl
import path from "node:path";
import { pathToFileURL } from "node:url";
import { readResults } from "../gpu/results.mjs";

export const begin = "----- metal:check: copy from here -----";
export const end = "----- metal:check: to here -----";

const gigabytes = (bytes) => `${(bytes / 1e9).toPrecision(3)} GB`;
const table = (head, rows) => [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);

function factLines(head, row) {
  const first = `${head.gpu}, ${head.driver}, commit ${head.commit}, ${head.date}`;
  if (!row) return [first];
  const { chip, family, macos, workingSetBytes, memoryBytes, bufferBytes, node, addon, compiler } = row;
  return [
    first,
    `GPU ${chip}, family ${family}, macOS ${macos}: memory ${gigabytes(memoryBytes)}, ` +
      `working set ${gigabytes(workingSetBytes)}, buffers of ${gigabytes(bufferBytes)} at most`,
    `node ${node}, addon ${addon}, Metal compiler ${compiler ?? "not found"}`,
  ];
}

function stepLines(rows) {
  const cells = rows.map(({ step, passed, failed, skipped, seconds, notRun }) => [
    ...[step, passed, failed, skipped, notRun ?? seconds],
  ]);
  return table(["step", "passed", "failed", "skipped", "seconds"], cells);
}

const percent = (share) => (share === undefined ? "" : `${Math.round(100 * share)} %`);

function measureCells(row) {
  const { bench, model, batch, prompt, tokens, tokensPerSecond, range, bytes, flops, microseconds, skipped } = row;
  const what = bench === "decode" ? `decode, ${batch} after ${prompt} tokens` : `prefill of ${tokens} tokens`;
  if (skipped) return [model, what, skipped, "", "", ""];
  const rate = `${tokensPerSecond}${range ? ` [${range.join("..")}]` : ""}`;
  const each = bench === "decode" ? gigabytes(bytes) : `${(flops / 1e12).toPrecision(3)} TFLOP`;
  const reached =
    bench === "decode" ? percent(row.roofShare) : `${(flops / microseconds / 1e6).toPrecision(3)} TFLOP/s`;
  return [model, what, rate, `${(microseconds / 1000).toPrecision(4)}`, each, reached];
}

const teraflops = (rate) => `${(rate / 1e12).toPrecision(3)} TFLOP/s`;

/** The share of its roof that each operation reaches. */
function kernelLines(rows) {
  const cells = rows
    .filter(({ values }) => values.roofShare)
    .map(({ name, parameters, values }) => {
      const { tokens, context, matrix, layer } = parameters;
      const what = [name, matrix, layer, tokens && `${tokens} tokens`, context && `context ${context}`];
      return [what.filter(Boolean).join(", "), values.time.median.toPrecision(4), percent(values.roofShare.median)];
    });
  return cells.length === 0 ? [] : ["", ...table(["operation", "us", "of its roof"], cells), ""];
}

function measureLines(rows) {
  const roof = rows.find(({ bench }) => bench === "roofs");
  const measured = rows.filter(({ bench }) => bench === "decode" || bench === "prefill");
  return [
    roof
      ? `roofs: ${gigabytes(roof.readBytesPerSecond)}/s, ${teraflops(roof.mmaFlopsPerSecond)} of bf16, ` +
        `${teraflops(roof.fmaFlopsPerSecond)} of float`
      : "roofs: not measured",
    ...kernelLines(rows.filter(({ bench }) => bench === "kernels")),
    ...rows.filter(({ bench }) => bench === "misfit").map(({ why }) => why),
    ...(measured.length === 0
      ? ["decode and prefill: not measured"]
      : [
          "",
          ...table(
            [
              "model",
              "what",
              "tokens/s, median [least..greatest]",
              "ms",
              "of a step or prompt",
              "of the byte roof, or reached",
            ],
            measured.map(measureCells),
          ),
        ]),
  ];
}

/** How far the golden models are from the oracle. */
function goldenLines(rows) {
  const cases = rows.filter(({ bench, reference }) => bench === "oracle" && reference === "logits_f64");
  if (cases.length === 0) return [];
  const far = cases.map(
    ({ case: name, maxRel, rmsRel }) => `${name} ${maxRel.toExponential()} (${rmsRel.toExponential()})`,
  );
  return [`golden models, max_rel (rms_rel): ${far.join(", ")}`];
}

const mostMessages = 100; // lines; the file has all

/** What failed, with its reason. */
function failureLines(rows) {
  const lines = rows.flatMap((row) => {
    if (row.bench === "test" && row.result !== "passed") return [`${row.result}: ${row.case}`, `  ${row.why ?? ""}`];
    return row.bench === "log" ? [`${row.step}: ${row.text}`] : [];
  });
  const more = lines.length - mostMessages;
  return more > 0 ? [...lines.slice(0, mostMessages), `and ${more} more lines in the file`] : lines;
}

/** @returns the lines between `begin` and `end`, and these */
export function blockOf(head, rows, file) {
  const steps = rows.filter(({ bench }) => bench === "step");
  const sum = (name) => steps.reduce((total, step) => total + step[name], 0);
  const failures = failureLines(rows);
  return [
    begin,
    ...factLines(
      head,
      rows.find(({ bench }) => bench === "facts"),
    ),
    `file: ${path.basename(file)}`,
    "",
    ...stepLines(steps),
    "",
    ...goldenLines(rows),
    ...measureLines(rows),
    ...(failures.length > 0 ? ["", "messages:", ...failures] : []),
    "",
    `${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`,
    end,
  ].join("\n");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [, , file] = process.argv;
  if (!file) {
    console.error("node bench/metal/block.mjs bench/results/FILE.jsonl");
    process.exit(2);
  }
  const { head, rows } = readResults(file);
  console.log(blockOf(head, rows, file));
}
