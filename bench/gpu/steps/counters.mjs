// The counters of Nsight Compute for the kernels of a decode step.
import { counterArguments, counterRows } from "../counters.mjs";
import { last } from "../process.mjs";
import { find, program } from "../session.mjs";

/**
 * The 20b: it has the same launches as the 120b, and less memory for the profiler to save and restore.
 */
export const counters = {
  name: "counters",
  least: 30,
  most: 120,
  asked: true,
  async run(session, seconds) {
    if (session.emulated) return;
    const ncu = find("ncu", "/usr/local/cuda/bin/ncu");
    if (!ncu) return session.count({ skipped: 1 }, "NOT RUN: no ncu on this machine");
    const bench = program("oss_gpu_decode");
    if (!bench) return session.count({ failed: 1 }, "NOT RUN: oss_gpu_decode is not built");
    const until = Date.now() + seconds * 1000;
    const decode = ["synthetic:20b", "--batches", "1", "--prompt", "2048", "--samples", "1", "--steps", "8"];
    for (const all of [true, false]) {
      const said = await session.run(ncu, counterArguments(bench, decode, { all }), {
        seconds: (until - Date.now()) / 1000,
        show: false,
      });
      const rows = counterRows("20b", said.text);
      for (const row of rows) session.addRow(row);
      if (rows.length > 0) return session.count({ passed: 1 });
      session.log(last(said.text, 12));
    }
    session.count({ skipped: 1 }, "NOT RUN: ncu reads no counters here");
  },
};
