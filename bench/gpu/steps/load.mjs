// The time of a start: reading weights on the host, and whole checkpoints in files.
import { rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { last } from "../process.mjs";
import { jsonLines } from "../results.mjs";
import { program } from "../session.mjs";

export const loadHost = {
  name: "load:host",
  least: 10,
  most: 40,
  async run(session, seconds) {
    if (session.emulated) return;
    const threads = [1, 8, 16].filter((n) => n <= availableParallelism()).join();
    const args = [tmpdir(), "--gigabytes", "2", "--threads", threads, "--repeats", "5"];
    const row = (line) => ({ bench: "load host", ...line });
    const said = await session.rows(program("oss_load_bench") ?? "oss_load_bench", args, { seconds, row });
    session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 10));
  },
};

/** A checkpoint in files, as large as a released one, loaded by several processes one after the other. */
export function load(model, { least, most, emulated = false, ...more }) {
  return {
    ...{ name: `load:${model}`, least, most, ...more },
    async run(session, seconds) {
      if (session.emulated && !emulated) return;
      const of = session.emulated ? "tiny" : model;
      const until = Date.now() + seconds * 1000;
      const left = () => (until - Date.now()) / 1000;
      const command = ["bench/gpu/checkpoint.mjs", of, session.scratch, session.inMemory];
      const written = await session.node(command, { seconds, show: false });
      if (written.status === 2 || written.late) return session.count({ skipped: 1 }, `NOT RUN: ${written.text}`);
      if (!written.ok) return session.count({ failed: 1 }, last(written.text, 10));
      session.log(`written in ${Math.round(seconds - left())} s`);
      const folder = written.text.trim();
      for (const run of ["the first", "again", "again"]) {
        const said = await session.node(["bench/gpu/load.mjs", folder], {
          seconds: left(),
          env: session.device("memory_bytes=800000000"),
        });
        if (said.late) return session.count({ skipped: 1 }, `NOT RUN ${run}: ${last(said.text, 1)}`);
        if (!said.ok) return session.count({ failed: 1 }, last(said.text, 20));
        for (const line of jsonLines(said.text)) session.addRow({ ...line, model: of, run });
      }
      session.count({ passed: 1 });
      rmSync(folder, { recursive: true });
    },
  };
}
