// Each operation by itself, at the shapes of a model: `gpt-oss bench kernels`, whose rows are kept as they are.
import { last } from "../process.mjs";

/** @param more.machine the emulated machine, if the session's own does not do */
export function kernelBench(model, { least, most, emulated = false, machine, ...more }) {
  return {
    ...{ name: `bench:${model}`, least, most, ...more },
    async run(session, seconds) {
      if (session.emulated && !emulated) return;
      // The most useful ones first: a bench that is out of time keeps its rows.
      const [shape, options] = session.emulated
        ? ["test/golden/models/a", ["--tokens", "1,3,40", "--context", "100", "--cold-bytes", "0", "--seconds", "0"]]
        : [model, ["--tokens", "1,8,64,2048,4,16,32,128,256", "--context", "1024,8192", "--seconds", "0.02"]];
      const args = ["dist/cli/main.js", "bench", "kernels", "--backend", session.backend, "--shape", shape, "--json"];
      let rows = 0;
      const said = await session.rows(process.execPath, [...args, ...options], {
        ...{ seconds, env: session.device(machine) },
        row: (line) => {
          rows += 1;
          return line;
        },
      });
      const late = said.late && rows > 0;
      if (late) session.log(`out of time after ${rows} rows`);
      session.count(said.ok || late ? { passed: 1 } : { failed: 1 }, said.ok ? "" : last(said.text, 30));
    },
  };
}
