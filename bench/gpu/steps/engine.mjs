// The engine through Node: loading, prefill and decode of synthetic models, and whether the same request gives the same
// bits.
import { last } from "../process.mjs";
import { nativeCounts } from "../report.mjs";

/** A step that runs engine.mjs; `args` are its options. */
export function engine(name, model, { least, most, args = [], emulated = false, ...more }) {
  return {
    ...{ name, least, most, ...more },
    async run(session, seconds) {
      if (session.emulated && !emulated) return;
      const tiny = ["--batches", "1@24,4", "--prefill", "20", "--prompt", "16", "--decode", "4"];
      const until = Date.now() + Math.max(seconds - 15, seconds / 2) * 1000;
      const [of, options] = session.emulated ? ["synthetic:tiny", tiny] : [model, args];
      const said = await session.rows(
        process.execPath,
        ["bench/gpu/engine.mjs", of, "--until", `${until}`, ...options],
        {
          seconds,
          env: session.device(),
          row: (line) => session.withShare(line),
        },
      );
      session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 30));
    },
  };
}

export const repeatable = {
  name: "repeatable",
  least: 15,
  most: 60,
  async run(session, seconds) {
    const args = session.emulated ? ["synthetic:tiny", "40", "4", "3"] : ["synthetic:20b"];
    const command = ["bench/gpu/repeatable.mjs", ...args];
    const said = await session.rows(process.execPath, command, { seconds, env: session.device() });
    const { passed, failed, failures } = nativeCounts(said.text);
    session.count({ passed, failed }, said.ok ? "" : [...failures, last(said.text, 10)].join("\n"));
  },
};
