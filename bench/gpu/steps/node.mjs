// The tests of the TypeScript layer with the GPU as the engine's backend.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { last } from "../process.mjs";
import { root } from "../session.mjs";

const files = [
  ...["chat/demo-conversations", "chat/conversation", "engine", "generation/options"],
  ...["engine-sharing", "generation/streams"],
].map((name) => `test/lib/${name}.test.ts`);

export const node = {
  name: "node",
  least: 20,
  most: 90,
  async run(session, seconds) {
    const file = path.join(session.scratch, "vitest.json");
    const vitest = "node_modules/vitest/vitest.mjs";
    if (!existsSync(path.join(root, vitest))) return session.count({ skipped: 1 }, "NOT RUN: vitest is not installed");
    const args = [vitest, "run", ...(session.emulated ? ["test/lib/errors.test.ts"] : files)];
    args.push("--reporter=default", "--reporter=json", `--outputFile.json=${file}`);
    const said = await session.node(args, { seconds, env: session.device(), show: false });
    if (!existsSync(file)) return session.count({ failed: 1 }, last(said.text, 40));
    const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(readFileSync(file, "utf8"));
    const failures = testResults.flatMap(({ assertionResults, message }) => [
      ...assertionResults
        .filter(({ status }) => status === "failed")
        .map(({ fullName, failureMessages }) => `FAIL ${fullName}: ${failureMessages.join(" ").split("\n")[0]}`),
      ...(message ? [message.split("\n")[0]] : []),
    ]);
    console.log(`${numPassedTests} passed, ${numFailedTests} failed`);
    session.count({ passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests }, failures.join("\n"));
  },
};
