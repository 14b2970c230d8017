import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parse } from "yaml";
import { packageRoot } from "../../lib/package-root.js";
import { type Allowance, allowances as usualAllowances } from "./allowances.js";
import { Checker, type OpenApiDocument } from "./checker.js";
import type { Exchange } from "./exchange.js";
import { report } from "./report.js";

const recorder = pathToFileURL(path.join(packageRoot, "test/openapi/record.mjs")).href;

export interface CheckedRunOptions {
  /** Whether all tests of the server run, so that each allowance must be needed. */
  isWhole: boolean;
  allowances?: readonly Allowance[];
}

/**
 * Runs Node with these arguments, and checks what the servers in it and in its children answered. What the program
 * prints goes to the terminal.
 *
 * @param document the path of an OpenAPI document, in YAML or JSON
 */
export async function checkedRun(
  document: string,
  program: readonly string[],
  { isWhole, allowances = usualAllowances }: CheckedRunOptions,
): Promise<{ text: string; isRight: boolean }> {
  const parsed = parse(readFileSync(document, "utf8"), { maxAliasCount: -1 }) as OpenApiDocument;
  const checker = new Checker(parsed, allowances);
  const folder = mkdtempSync(path.join(tmpdir(), "openapi-"));
  try {
    const options = `${process.env.NODE_OPTIONS ?? ""} --import ${recorder}`;
    const env = { ...process.env, OPENAPI_RECORD: folder, NODE_OPTIONS: options };
    const child = spawn(process.execPath, program, { cwd: packageRoot, env, stdio: ["ignore", "inherit", "inherit"] });
    const [code] = await once(child, "exit");
    for (const exchange of recordedIn(folder)) checker.check(exchange);
    const { text, isRight } = report(checker, { isWhole });
    return { text, isRight: isRight && code === 0 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function* recordedIn(folder: string): Generator<Exchange> {
  for (const name of readdirSync(folder)) {
    for (const line of readFileSync(path.join(folder, name), "utf8").split("\n")) {
      if (line !== "") yield JSON.parse(line) as Exchange;
    }
  }
}
