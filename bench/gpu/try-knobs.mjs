// The effect of each value of the knobs on a decode step. One process per variant and model (decode.cpp). The base runs
// first, in the middle and last, so that drift shows. check.mjs runs it.
import { digits, median } from "./report.mjs";

const mostSeconds = 90; // of one process

/** The base three times, the variants between. */
export function withBase(variants) {
  const middle = Math.ceil(variants.length / 2);
  const base = (turn) => ({ name: "base", knob: "base", value: turn, batches: [1, 8, 16] });
  return [base("first"), ...variants.slice(0, middle), base("between"), ...variants.slice(middle), base("last")];
}

/** Ratios to the base of the same model and batch: to the median of its runs so far. */
function compare(rows) {
  for (const row of rows) {
    const base = rows.filter(
      ({ knob, batch, microseconds }) => knob === "base" && batch === row.batch && microseconds !== undefined,
    );
    if (row.microseconds === undefined || base.length === 0) continue;
    row.ratio = digits(row.microseconds / median(base.map(({ microseconds }) => microseconds)));
  }
}

/** Lines of one model and batch in readable form. */
export function knobTable(rows) {
  const lines = rows.map(
    ({ knob, value, microseconds, range, ratio, failed, skipped, reorders, sameTokens, differs }) => [
      `${knob}: ${value}`,
      microseconds === undefined ? "" : microseconds.toFixed(1),
      range === undefined ? "" : range.map((time) => time.toFixed(1)).join(".."),
      ratio === undefined ? "" : ratio.toFixed(3),
      failed ??
        skipped ??
        (differs
          ? "WRITES SOMETHING ELSE"
          : reorders
            ? `another order of sums, ${sameTokens ? "the same" : "other"} tokens`
            : ""),
    ],
  );
  const head = ["", "us a step", "least..greatest", "to base", ""];
  const widths = head.map((_, column) => Math.max(...[head, ...lines].map((line) => line[column].length)));
  return [head, ...lines]
    .map((line) => line.map((cell, i) => (i === 0 || i === 4 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))))
    .map((line) => line.join("  ").trimEnd())
    .join("\n");
}

/**
 * Runs `rounds` ([{ model, batches, args }], most important first) until the time `until`. Calls `addRow` with a row
 * for each variant, model and batch. A variant that has failed, or whose output differs, is not tried in later rounds.
 *
 * @param built the result of buildVariants() for each name
 * @param run starts a program: (file, args, seconds) => { ok, text }
 */
export async function tryKnobs(variants, { rounds, built, run, until, addRow }) {
  const failures = new Map();
  const failed = (variant, why) => failures.set(variant.name, `${variant.knob}: ${variant.value}: ${why}`);
  for (const variant of variants) if (built.get(variant.name).why) failed(variant, built.get(variant.name).why);
  const counts = { passed: 0, skipped: 0 };
  for (const { model, batches, args = [] } of rounds) {
    const rows = [];
    const first = new Map(); // the output of the base, by batch
    let took = 0; // by the slowest process of this round
    for (const variant of withBase(variants)) {
      const own = batches.filter((batch) => variant.batches.includes(batch));
      if (own.length === 0) continue;
      const put = (batch, found) => {
        const { knob, value } = variant;
        const row = { bench: "knob", model, batch, knob, value, ...found };
        rows.push(row);
        addRow(row);
        compare(rows);
      };
      if (failures.has(variant.name)) {
        for (const batch of own) put(batch, { failed: "failed" });
        continue;
      }
      const left = (until - Date.now()) / 1000;
      if (left < Math.max(2, 1.2 * took)) {
        counts.skipped++;
        for (const batch of own) put(batch, { skipped: "out of time" });
        continue;
      }
      const from = Date.now();
      const said = await run(
        built.get(variant.name).program,
        [model, "--batches", own.join(), ...args],
        Math.min(left, mostSeconds),
      );
      took = Math.max(took, (Date.now() - from) / 1000);
      for (const line of said.lines) {
        const { batch, context, microseconds: times } = line;
        if (!first.has(batch) && variant.name === "base") first.set(batch, line);
        const { tokens, bits } = first.get(batch) ?? {};
        const differs = !variant.reorders && bits !== line.bits;
        if (differs)
          failed(variant, `${tokens === line.tokens ? "other log probabilities" : "other tokens"} at batch ${batch}`);
        put(batch, {
          context,
          ...(differs
            ? { differs }
            : {
                microseconds: digits(median(times), 5),
                range: [Math.min(...times), Math.max(...times)].map((time) => digits(time, 5)),
              }),
          ...(variant.reorders && { reorders: true, sameTokens: tokens === line.tokens }),
        });
      }
      if (said.ok && said.lines.length === own.length) {
        if (!failures.has(variant.name)) counts.passed++;
        continue;
      }
      failed(variant, said.text.trim().split("\n").at(-1) || "ended early");
      for (const batch of own.slice(said.lines.length)) put(batch, { failed: "failed" });
      if (variant.name === "base" && first.size === 0) break; // nothing to compare with
    }
    for (const batch of batches) {
      const of = rows.filter((row) => row.batch === batch);
      const context = of.find((row) => row.context !== undefined)?.context;
      console.log(`\n${model}, batch ${batch}${context === undefined ? "" : `, ${context} tokens before a step`}`);
      console.log(knobTable(of));
    }
  }
  return { ...counts, failures: [...failures.values()] };
}
