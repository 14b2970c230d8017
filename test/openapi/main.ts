// npm run test:openapi -- DOCUMENT [TEST-FILE ...]: runs the tests of the server and checks each body and event that it
// sent against an OpenAPI document. Prints what violates it, by operation and field, and exits with 1 then.
import { checkedRun } from "./checked-run.js";

const [given, ...files] = process.argv.slice(2);
const document = given ?? process.env.OPENAPI;
const serverTests = [
  "test/lib/server",
  ...["adapters", "cli-bench-serve", "limits", "serve"].map((name) => `test/e2e/${name}.test.ts`),
];

if (document === undefined) {
  process.stderr.write("Give the path of OpenAI's document: npm run test:openapi -- openapi.yaml\n");
  process.exitCode = 1;
} else {
  const isWhole = files.length === 0;
  const tests = ["node_modules/vitest/vitest.mjs", "run", ...(isWhole ? serverTests : files)];
  const { text, isRight } = await checkedRun(document, tests, { isWhole });
  process.stdout.write(text);
  process.exitCode = isRight ? 0 : 1;
}
