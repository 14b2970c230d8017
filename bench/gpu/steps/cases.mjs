// Cases of oss_tests, each in a separate process with a time limit. So a fault or a hang fails one case, and all others
// still run.
import { spawnSync } from "node:child_process";
import { last } from "../process.mjs";

/** Names of the cases that start with one of `begins`, in the order of `begins`. */
export function casesOf(session, begins) {
  const { stdout } = spawnSync(session.tests ?? "", ["--list"], { encoding: "utf8" });
  const names = (stdout ?? "").trim().split("\n");
  return [...new Set(begins.flatMap((begin) => names.filter((name) => name.startsWith(begin))))];
}

function verdict({ ok, late, signal }) {
  if (ok) return "passed";
  if (late) return "hung";
  return signal ? "crashed" : "failed";
}

/**
 * Runs the cases, `atOnce` at a time, and adds a row for each. A case without time gets a row that says so.
 *
 * @param before a program and its options that each case runs under
 * @returns the output of the cases that did not pass
 */
export async function runCases(session, names, { until, caseSeconds, atOnce = 1, before = [] }) {
  const waiting = [...names];
  const texts = [];
  const row = (name, result, more) =>
    session.addRow({ bench: "test", step: session.step, case: name, result, ...more });
  const worker = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const left = (until - Date.now()) / 1000;
      if (left < Math.min(2, caseSeconds)) {
        row(name, "not run", { why: "out of time" });
        session.count({ skipped: 1 });
        continue;
      }
      const from = Date.now();
      const args = [session.tests, ...(session.emulated ? [] : ["--gpu"]), "--exact", name];
      const [command, ...rest] = [...before, ...args];
      const limit = Math.min(caseSeconds, left);
      const said = await session.run(command, rest, { seconds: limit, show: false });
      // A case that is ended because the step's time is over counts as not run, not as hung.
      const cut = said.late && limit < caseSeconds;
      const result = cut ? "not run" : verdict(said);
      const seconds = Math.round((Date.now() - from) / 100) / 10;
      if (result !== "passed") {
        const why = cut ? "out of time" : last(said.text, 12);
        texts.push(said.text);
        row(name, result, { seconds, ...(said.signal && !said.late && { signal: said.signal }), why });
        console.log(`${result === "not run" ? "NOT RUN" : "FAIL"} ${name}: ${result} after ${seconds} s\n${why}`);
      } else {
        row(name, result, { seconds });
      }
      session.count({ [result === "passed" ? "passed" : result === "not run" ? "skipped" : "failed"]: 1 });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const { passed, failed, skipped } = session.counts;
  console.log(`${passed} passed, ${failed} failed, ${skipped} not run`);
  return texts;
}
