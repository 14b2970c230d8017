// Decode steps in the engine without Node, after prompts that were not computed. So a batch of 256 with 2,048 tokens
// each in the cache begins at once. Also the cost of each phase of a step.
import { last } from "../process.mjs";
import { digits, median } from "../report.mjs";
import { program } from "../session.mjs";
import { stepBytesOf } from "../shapes.mjs";

/** Turns a line of oss_gpu_decode into a row like those of engine.mjs. */
export function decodeRow(model, prompt, { batch, context, microseconds: times }) {
  if (times.length === 0)
    return { bench: "decode", model, batch, prompt, skipped: "the streams never decoded together" };
  const rate = (time) => digits((1e6 * batch) / time);
  const time = median(times);
  return {
    ...{ bench: "decode", model, cache: "assumed", batch, prompt, context },
    tokensPerSecond: rate(time),
    range: [rate(Math.max(...times)), rate(Math.min(...times))],
    repeats: times.length,
    bytes: stepBytesOf(model, batch, context),
    microseconds: digits(time, 5),
  };
}

/** A step with one model. Each batch is a separate process, so that a fault does not affect the others. */
export function decode(name, model, batches, { least, most }) {
  return {
    name,
    least,
    most,
    async run(session, seconds) {
      const bench = program("oss_gpu_decode");
      if (!bench) return session.count({ failed: 1 }, "NOT RUN: oss_gpu_decode is not built");
      const [of, prompt, sizes] = session.emulated ? ["synthetic:tiny", 100, [1, 4]] : [model, 2048, batches];
      const until = Date.now() + seconds * 1000;
      for (const [i, batch] of sizes.entries()) {
        const left = (until - Date.now()) / 1000;
        const row = { bench: "decode", model: of, batch, prompt };
        if (left < Math.min(10, seconds / 4)) {
          session.addRow({ ...row, skipped: "out of time" });
          session.count({ skipped: 1 });
          continue;
        }
        const long = session.emulated ? [2, 2] : [5, 32];
        const args = ["--batches", String(batch), "--prompt", String(prompt), "--assumed"];
        args.push("--samples", String(long[0]), "--steps", String(long[1]));
        const said = await session.rows(session.moduleBeside(bench), [of, ...args], {
          // A load of the largest model takes a few seconds; one batch must not use the time of the others.
          seconds: Math.max(10, (2 * left) / (sizes.length - i + 1)),
          row: (line) => session.withShare(decodeRow(of, prompt, line)),
        });
        if (!said.ok) session.addRow({ ...row, failed: last(said.text, 3) });
        session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : `batch ${batch}: ${last(said.text, 10)}`);
      }
    },
  };
}

export const stages = {
  name: "stages",
  least: 15,
  most: 70,
  async run(session, seconds) {
    if (session.emulated) return;
    const bench = program("oss_gpu_stages");
    if (!bench) return session.count({ failed: 1 }, "NOT RUN: oss_gpu_stages is not built");
    for (const [model, share] of [
      ["120b", 0.6],
      ["20b", 0.4],
    ]) {
      const limit = seconds * share;
      const row = (line) => ({ bench: "stage", model, ...line });
      const args = [`synthetic:${model}`, "--seconds", String(limit / 2)];
      const said = await session.rows(bench, args, { seconds: limit, row });
      session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 10));
    }
  },
};
