// Conversations of the demo model, whose answers are known. Run by check.mjs:
//
//   node bench/metal/demo.mjs COUNT TOKENS    lines "ok NAME" or "FAIL NAME", and "N passed, N failed" last
//
// Only conversations without a near tie, so that rounding changes no token. TOKENS is the most of an answer.
import { readFileSync } from "node:fs";
import path from "node:path";
import { Engine } from "../../dist/index.js";

const [count, maxTokens] = process.argv.slice(2).map(Number);
const file = path.join(import.meta.dirname, "../../test/golden/demo/expected.jsonl");
const conversations = readFileSync(file, "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line))
  .filter(({ robust }) => robust)
  .slice(0, count);

const engine = await Engine.load("demo", { kvCache: { bytes: "64MiB" } }); // GPT_OSS_BACKEND names the backend
const results = await Promise.all(
  conversations.map(({ prompt_ids }) => engine.generate(prompt_ids, { temperature: 0, maxTokens }).result),
);
await engine.close();
const totals = { passed: 0, failed: 0 };
for (const [i, { id, completion_ids, text }] of conversations.entries()) {
  const expected = completion_ids.slice(0, maxTokens);
  const isRight = `${results[i].tokens}` === `${expected}`;
  console.log(
    `${isRight ? "ok" : "FAIL"} ${engine.info.backend} demo ${id}: ${text.replace(/<\|\w+\|>/g, " ").trim()}`,
  );
  if (!isRight) console.log(`  tokens ${results[i].tokens}, expected ${expected}`);
  totals[isRight ? "passed" : "failed"]++;
}
console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exitCode = totals.failed > 0 ? 1 : 0;
