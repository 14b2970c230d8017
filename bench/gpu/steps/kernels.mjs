// Every kernel and every engine test on the device, and the risky kernels under compute-sanitizer.
import { find } from "../session.mjs";
import { casesOf, runCases } from "./cases.mjs";

const untilOf = (seconds) => Date.now() + seconds * 1000;

export const kernels = {
  name: "kernels",
  least: 30,
  most: 150,
  async run(session, seconds) {
    const begins = session.options.cases?.split(",") ?? (session.emulated ? ["cuda rms_norm"] : ["cuda ", "cuda"]);
    const names = casesOf(session, begins);
    if (names.length === 0) return session.count({ failed: 1 }, "NOT RUN: oss_tests is not built");
    const caseSeconds = Number(session.options["case-seconds"]);
    await runCases(session, names, { until: untilOf(seconds), caseSeconds, atOnce: session.emulated ? 2 : 4 });
  },
};

const risky = ["cuda few_experts", "cuda attention: page"];
const all = [
  ...risky,
  ...["cuda norm_qkv", "cuda norm_linear", "cuda experts: against", "cuda router", "cuda rms_norm", "cuda embed"],
  ...["cuda gather_rows", "cuda linear", "cuda low_rank", "cuda qkv", "cuda experts_low_rank", "cuda sample"],
];

/** The step of one tool of compute-sanitizer. */
export function sanitizer(tool, { least = 15, most = 60, short = false } = {}) {
  return {
    name: tool,
    least,
    most,
    async run(session, seconds) {
      const program = find("compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer");
      if (!program || session.emulated)
        return session.count({ skipped: 1 }, "NOT RUN: no compute-sanitizer on this machine");
      const names = casesOf(session, short ? risky : all);
      const texts = await runCases(session, names, {
        until: untilOf(seconds),
        caseSeconds: seconds / 2,
        before: [program, "--tool", tool, "--error-exitcode", "9"],
      });
      const said = texts.join("\n").split("\n");
      if (said.some((line) => /not supported/i.test(line)))
        session.log("NOT RUN: compute-sanitizer does not support this device");
      session.log(
        said
          .filter((line) => line.startsWith("========="))
          .slice(-24)
          .join("\n"),
      );
    },
  };
}
