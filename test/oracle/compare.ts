import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { counts, UsageError } from "../../bench/support/arguments.js";
import { divergence } from "../../bench/support/divergence.js";
import { Engine, type EngineOptions } from "../../lib/index.js";
import { difference } from "../support/compare.js";
import { SafetensorsFile } from "../support/safetensors.js";

const help = `Usage: node --import tsx test/oracle/compare.ts CHECKPOINT CASES [options]

How far the engine is from the logits in CASES, a folder or a file as second_oracle.py and make_golden.py write them. A line
per prompt, the same as JSON, a line for the positions of all prompts up to the window and one for those past it, and
"N passed, N failed" last; exits 1 when one is beyond its tolerance.

  --backend NAME     cpu, cuda, metal                                  [GPT_OSS_BACKEND, else cpu]
  --numerics LIST    exact, fast, or both                              [what the backend has]
  --threads N        worker threads of the CPU backend                 [one per core]
`;

type Numerics = "exact" | "fast";

/**
 * The `require` column of test/golden/README.md: float32, bf16 activations with float32 sums. They hold at every
 * position, except where the router was near a tie there or earlier: another expert is then as good, and the logits
 * jump. The median must still keep these bounds, or the bound that transformers reaches in bf16. In four layers of 300
 * tokens, about a tenth of the choices are near a tie. Their keys and values reach most of the later positions.
 */
const tolerances: Record<Numerics, { maxRel: number; rmsRel: number }> = {
  exact: { maxRel: 1e-5, rmsRel: 1e-5 },
  fast: { maxRel: 4e-2, rmsRel: 2e-2 },
};

/**
 * The router gap below which the engine may choose another fourth expert. exact: LEAST_ROUTER_GAP of make_golden.py.
 * fast: bf16 changes a router logit by 0.012; the gap is 2.5 times this, times √2 for the difference, as in
 * test/native/golden_models.h.
 */
const nearTie: Record<Numerics, number> = { exact: 4e-5, fast: 2.5 * Math.SQRT2 * 0.012 };

interface Case {
  name: string;
  tokens: Int32Array;
  positions: number[];
  vocab: number;
  /** Reference logits by their name in the file. Where both exist, the float32 ones are from the second oracle. */
  references: { name: string; rows: Float64Array[] }[];
  /** The logits of the second oracle in bf16. */
  rounded: Float64Array[] | undefined;
  /** At each position, the smallest router gap of all layers, there and at earlier positions. */
  gaps: number[];
}

function readCase(file: string): Case {
  const tensors = new SafetensorsFile(file);
  const positions = [...tensors.i32("positions")];
  const read = (name: string) => {
    if (!tensors.tensors.has(name)) return undefined;
    const values = name === "logits_f64" ? tensors.f64(name) : Float64Array.from(tensors.f32(name));
    const vocab = values.length / positions.length;
    return positions.map((_, p) => values.subarray(p * vocab, (p + 1) * vocab));
  };
  const references = ["logits_f32", "logits_f64"].flatMap((name) => {
    const rows = read(name);
    return rows ? [{ name, rows }] : [];
  });
  const leastOfLayers = (name: string) => {
    const values = tensors.f64(name);
    return positions.map((_, p) => Math.min(...values.filter((_, i) => i % positions.length === p)));
  };
  return {
    name: path.basename(file, ".safetensors"),
    tokens: tensors.i32("tokens"),
    positions,
    vocab: references[0]!.rows[0]!.length,
    references,
    rounded: read("logits_bf16"),
    gaps: leastOfLayers(tensors.tensors.has("router_gap_before") ? "router_gap_before" : "router_gap"),
  };
}

interface Row {
  position: number;
  maxRel: number;
  rmsRel: number;
  /** The logits exceed the tolerance where the router was near a tie here or earlier. */
  tossed: boolean;
  /** The reference's logit of its best token minus that of the engine's token, relative to the largest logit. */
  margin: number;
  /** rms_rel of the second oracle in bf16; 0 where the case has none. */
  rounded: number;
}

function best(row: Float32Array | Float64Array): number {
  let found = 0;
  for (let i = 1; i < row.length; i++) if (row[i]! > row[found]!) found = i;
  return found;
}

function compareRows(of: Case, reference: Float64Array[], actual: Float32Array[], numerics: Numerics): Row[] {
  const { maxRel, rmsRel } = tolerances[numerics];
  const largest = Math.max(...reference.map((row) => row.reduce((most, x) => Math.max(most, Math.abs(x)), 0)));
  return reference.map((row, p) => {
    const d = difference(actual[p]!, row);
    const far = !(d.maxAbs / largest <= maxRel && d.rmsRel <= rmsRel);
    return {
      position: of.positions[p]!,
      maxRel: d.maxAbs / largest,
      rmsRel: d.rmsRel,
      tossed: far && of.gaps[p]! < nearTie[numerics],
      margin: (row[best(row)]! - row[best(actual[p]!)]!) / largest,
      rounded: of.rounded ? difference(of.rounded[p]!, row).rmsRel : 0,
    };
  });
}

const digits = (x: number) => Number(x.toPrecision(3));
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

async function compare(checkpoint: string, cases: Case[], wanted: Numerics | undefined, options: EngineOptions) {
  await using engine = await Engine.load(checkpoint, {
    ...options,
    ...(wanted && { numerics: wanted }),
    contextLength: 512 * Math.ceil((Math.max(...cases.map(({ tokens }) => tokens.length)) + 1) / 512),
    maxSequences: 1,
    kvCache: { bytes: "64MiB" },
    prefixCache: false,
    packedWeights: "memory", // no later start needs them
  });
  const { backend, isa, model, numerics } = engine.info;
  const { maxRel, rmsRel } = tolerances[numerics];
  const totals = { passed: 0, failed: 0 };
  const report = (text: string, row: object, wrong: string[]) => {
    console.log(`${wrong.length > 0 ? "FAIL" : "ok"} ${backend} ${isa} ${numerics} ${text}`);
    for (const why of wrong) console.log(`  ${why}`);
    console.log(JSON.stringify({ bench: "oracle", backend, isa, numerics, ...row }));
    totals[wrong.length > 0 ? "failed" : "passed"]++;
  };
  const everywhere: Row[] = [];
  for (const of of cases) {
    if (of.vocab !== model.vocab) throw new UsageError(`${of.name} has ${of.vocab} logits a row, not ${model.vocab}`);
    const first = of.positions[0]!;
    const logits = await engine.logits(of.tokens, { last: of.tokens.length - first });
    const actual = of.positions.map((p) => logits.subarray((p - first) * of.vocab, (p - first + 1) * of.vocab));
    for (const { name, rows: reference } of of.references) {
      const rows = compareRows(of, reference, actual, numerics);
      everywhere.push(...rows);
      const kept = rows.filter(({ tossed }) => !tossed);
      const { kl, medianKl, sameTop } = divergence(reference, actual);
      const measures = {
        maxRel: digits(Math.max(0, ...kept.map((row) => row.maxRel))),
        rmsRel: digits(Math.sqrt(kept.reduce((sum, row) => sum + row.rmsRel ** 2, 0) / Math.max(1, kept.length))),
        kl: digits(kl),
        medianKl: digits(medianKl),
        sameTop,
        positions: rows.length,
        tossed: rows.length - kept.length,
        leastGap: digits(Math.min(...of.gaps)),
      };
      const wrong = kept.flatMap((row) => {
        const at = `at position ${row.position}:`;
        return [
          ...(row.maxRel <= maxRel ? [] : [`${at} max_rel ${digits(row.maxRel)} > ${maxRel}`]),
          ...(row.rmsRel <= rmsRel ? [] : [`${at} rms_rel ${digits(row.rmsRel)} > ${rmsRel}`]),
          ...(row.margin <= maxRel ? [] : [`${at} another best token, which has ${digits(row.margin)} less`]),
        ];
      });
      report(
        `${of.name}, ${name}: max_rel ${measures.maxRel.toExponential()}, rms_rel ${measures.rmsRel.toExponential()}, ` +
          `KL ${measures.kl.toExponential()}, same best token ${sameTop} of ${rows.length}, ` +
          `least router gap ${measures.leastGap.toExponential()}, ${measures.tossed} tossed`,
        { case: of.name, reference: name, ...measures },
        wrong,
      );
    }
  }
  for (const [zone, rows] of [
    ["up to the window", everywhere.filter(({ position }) => position < model.slidingWindow)],
    ["past the window", everywhere.filter(({ position }) => position >= model.slidingWindow)],
  ] as const) {
    if (rows.length === 0) continue;
    const found = digits(median(rows.map((row) => row.rmsRel)));
    const rounded = digits(median(rows.map((row) => row.rounded)));
    const most = numerics === "exact" ? rmsRel : Math.max(rmsRel, rounded);
    report(
      `median of ${rows.length} positions ${zone}: rms_rel ${found.toExponential()}, transformers in bf16 ${rounded}`,
      { zone, positions: rows.length, medianRmsRel: found, medianRmsRelOfBf16: rounded },
      found <= most ? [] : [`rms_rel ${found} > ${most}`],
    );
  }
  return totals;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      backend: { type: "string", default: process.env.GPT_OSS_BACKEND ?? "cpu" },
      numerics: { type: "string" },
      threads: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(help);
  const [checkpoint, place, ...rest] = positionals;
  if (!checkpoint || !place || rest.length > 0) throw new UsageError("Expected CHECKPOINT CASES; --help tells more");
  const kinds = values.numerics?.split(",");
  if (kinds?.some((kind) => kind !== "exact" && kind !== "fast"))
    throw new UsageError(`Expected exact or fast for --numerics but received "${values.numerics}"`);
  const files = statSync(place).isDirectory() ? readdirSync(place).map((file) => path.join(place, file)) : [place];
  const cases = files.map(readCase);
  const totals = { passed: 0, failed: 0 };
  for (const kind of (kinds as Numerics[] | undefined) ?? [undefined]) {
    const { passed, failed } = await compare(checkpoint, cases, kind, {
      backend: values.backend as "cpu" | "cuda" | "metal",
      ...(values.threads !== undefined && { threads: counts("threads", values.threads)[0]! }),
    });
    totals.passed += passed;
    totals.failed += failed;
  }
  console.log(`${totals.passed} passed, ${totals.failed} failed`);
  process.exitCode = totals.failed > 0 ? 1 : 0;
}

await main().catch((error: Error) => {
  console.error(error.message);
  process.exitCode = error instanceof UsageError ? 2 : 1;
});
