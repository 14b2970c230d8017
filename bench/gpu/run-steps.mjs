// Runs the steps of gpu:check one after the other, each within its time limit.
import { watchClocks } from "./clocks.mjs";
import { allowance } from "./report.mjs";

/**
 * @param steps [{ name, least, most, reserve?, run(session, seconds) }]; @param remaining returns the remaining seconds
 */
export async function runSteps(steps, session, remaining) {
  const { results, emulated } = session;
  for (const [i, step] of steps.entries()) {
    const seconds = allowance(steps, i, remaining());
    console.log(`\n== ${step.name}: at most ${Math.round(seconds)} s of ${Math.round(remaining())} s`);
    session.step = step.name;
    session.counts = { passed: 0, failed: 0, skipped: 0 };
    if (seconds === 0) {
      results.end(step.name, { skipped: 1 }, { notRun: "out of time" });
      continue;
    }
    const from = Date.now();
    const clocks = emulated ? undefined : watchClocks(step.name);
    try {
      await step.run(session, seconds);
    } catch (error) {
      session.count({ failed: 1 }, `FAIL ${error.stack ?? error}`); // the next steps can still run
    }
    const row = clocks?.();
    if (row) results.add(row);
    results.end(step.name, session.counts, { seconds: Math.round((Date.now() - from) / 100) / 10 });
    if (session.stop) break;
  }
}
