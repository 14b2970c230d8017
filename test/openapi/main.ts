// npm run test:openapi -- DOCUMENT [TEST-FILE ...]: runs the tests of the server and checks each body and event that it
// sent against an OpenAPI document. Prints what violates it, by operation and field, and exits with 1 then.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parse } from "yaml";
import { allowances } from "./allowances.js";
import { Checker, type OpenApiDocument } from "./checker.js";
import type { Exchange } from "./exchange.js";
import { report } from "./report.js";

const [given, ...files] = process.argv.slice(2);
const file = given ?? process.env.OPENAPI;
const serverTests = [
  "test/lib/server",
  ...["adapters", "cli-bench-serve", "limits", "serve"].map((name) => `test/e2e/${name}.test.ts`),
];

if (file === undefined) {
  process.stderr.write("Give the path of OpenAI's document: npm run test:openapi -- openapi.yaml\n");
  process.exit(1);
}
const checker = new Checker(parse(readFileSync(file, "utf8"), { maxAliasCount: -1 }) as OpenApiDocument, allowances);
const folder = mkdtempSync(path.join(tmpdir(), "openapi-"));
try {
  const preload = pathToFileURL(path.resolve("test/openapi/record.mjs")).href;
  const tests = spawn(
    process.execPath,
    ["node_modules/vitest/vitest.mjs", "run", ...(files.length > 0 ? files : serverTests)],
    {
      env: {
        ...process.env,
        OPENAPI_RECORD: folder,
        NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ""} --import ${preload}`,
      },
      stdio: "inherit",
    },
  );
  const [code] = await once(tests, "exit");
  for (const name of readdirSync(folder)) {
    for (const line of readFileSync(path.join(folder, name), "utf8").split("\n")) {
      if (line !== "") checker.check(JSON.parse(line) as Exchange);
    }
  }
  const { text, isRight } = report(checker, { isWhole: files.length === 0 });
  process.stdout.write(text);
  process.exitCode = code === 0 && isRight ? 0 : 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
