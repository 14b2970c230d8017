// Each kernel by itself, at the shapes of a model.
import { last } from "../process.mjs";
import { kernelRow } from "../report.mjs";
import { program } from "../session.mjs";

export function kernelBench(model, { least, most, emulated = false, ...more }) {
  return {
    ...{ name: `bench:${model}`, least, most, ...more },
    async run(session, seconds) {
      if (session.emulated && !emulated) return;
      const bench = program("oss_gpu_bench");
      if (!bench) return session.count({ failed: 1 }, "NOT RUN: oss_gpu_bench is not built");
      const tiny = ["--tokens", "1,3", "--prefill", "20", "--context", "100,200"];
      const [of, options] = session.emulated ? ["tiny", tiny] : [model, []];
      const args = [of, "--seconds", String(Math.max(seconds - 10, seconds / 2)), ...options];
      const row = (line) =>
        session.results.roofs.readBytesPerSecond ? kernelRow(of, line, session.results.roofs) : undefined;
      const said = await session.rows(session.moduleBeside(bench), args, { seconds, row });
      session.count(said.ok ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 30));
    },
  };
}
