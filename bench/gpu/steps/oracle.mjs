// The engine on the GPU beside transformers, on two layers of the released shape with random weights.
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import path from "node:path";
import { last } from "../process.mjs";
import { nativeCounts } from "../report.mjs";
import { root } from "../session.mjs";

/** A Python that can run test/oracle/second_oracle.py, or why there is none. */
function findPython() {
  let why;
  for (const python of ["python3", "python"]) {
    const lacking =
      "import importlib.util as u; print(*[m for m in ('numpy', 'torch', 'transformers') if not u.find_spec(m)], sep=', ')";
    const { status, stdout } = spawnSync(python, ["-c", lacking], { encoding: "utf8" });
    if (status !== 0) continue;
    if (stdout.trim() === "") return { python };
    why ??= `${python} has no ${stdout.trim()}`;
  }
  return { why: why ?? "no python3 on this machine" };
}

export const oracle = {
  name: "oracle",
  least: 45, // half of it for writing 3.3 GB
  most: 120,
  async run(session, seconds) {
    const { emulated } = session;
    const { python, why } = findPython();
    if (!python) return session.count({ skipped: 1 }, `NOT RUN: ${why}`);
    if (!existsSync(path.join(root, "node_modules/tsx")))
      return session.count({ skipped: 1 }, "NOT RUN: tsx is not installed");
    const until = Date.now() + seconds * 1000;
    const [model, cases] = ["oracle", "oracle-cases"].map((name) => path.join(session.scratch, name));
    // Two layers, one with a window. With more layers, rounding to bf16 sends more tokens to other experts, and the
    // test shows less.
    const shape = [
      ...["--set", "num_hidden_layers=2"],
      ...(emulated ? ["--set", "sliding_window=8"] : ["--shape", "real"]),
    ];
    let said = { ok: true, text: "" };
    for (const [command, args] of [
      [python, ["test/oracle/make_checkpoint.py", model, ...shape]],
      [python, ["test/oracle/second_oracle.py", model, "--out", cases, ...(emulated ? ["--prompts", "20,5"] : [])]],
      [process.execPath, ["--import", "tsx", "test/oracle/compare.ts", model, cases, "--backend", "cuda"]],
    ]) {
      if (!said.ok) break;
      said = await session.rows(command, args, {
        seconds: (until - Date.now()) / 1000,
        env: command === python ? {} : session.device(),
      });
    }
    const { passed, failed, failures } = nativeCounts(said.text);
    session.count({ passed, failed }, said.ok ? "" : [...failures, last(said.text, 10)].join("\n"));
    for (const folder of [model, cases]) rmSync(folder, { recursive: true, force: true });
  },
};
