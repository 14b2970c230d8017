// npm run test:clients: coding agents of others edit a file through this server, whose model is scripted.
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { runs } from "./clients.js";
import { type Outcome, runClient } from "./run-client.js";

const { values, positionals } = parseArgs({
  options: {
    log: { type: "string", default: "clients.log" },
    packages: { type: "string" },
    keep: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
  allowPositionals: true,
});
if (values.help) {
  process.stdout.write(`Usage: npm run test:clients -- [options] [CLIENT ...]

  CLIENT              ${[...new Set(runs.map(({ client }) => client))].join(", ")} [all]
  --log FILE          what each client did and printed                  [clients.log]
  --packages FOLDER   where the clients are installed, and stay         [a temporary folder]
  --keep              keep the folders of the runs, and name them
`);
  process.exit();
}

const chosen = runs.filter(({ client }) => positionals.length === 0 || positionals.includes(client));
const unknown = positionals.filter((name) => !runs.some(({ client }) => client === name));
if (unknown.length > 0) {
  process.stderr.write(`There is no client ${unknown.join(", ")}\n`);
  process.exit(2);
}

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-clients-"));
const packages = path.resolve(values.packages ?? path.join(folder, "packages"));
writeFileSync(values.log, "");
const log = (line: string) => appendFileSync(values.log, `${line}\n`);
const tell = (line: string) => {
  process.stdout.write(`${line}\n`);
  log(line);
};

// Also at Ctrl-C, which ends the running client with this process.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
process.once("exit", () => {
  if (values.keep) tell(`The runs are in ${folder}`);
  else rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});

install();
let failed = 0;
for (const [i, run] of chosen.entries()) {
  log(`\n== ${run.name}`);
  const started = Date.now();
  const outcome = await runClient(run, packages, path.join(folder, String(i))).catch(fallen);
  for (const line of outcome.log) log(line);
  const seconds = Math.round((Date.now() - started) / 1000);
  if (outcome.wrong.length > 0) failed++;
  tell(`${outcome.wrong.length > 0 ? "FAILED" : "passed"} ${run.name} (${seconds} s)`);
  for (const wrong of outcome.wrong) tell(`  ${wrong}`);
}
log("");
tell(`${chosen.length - failed} passed, ${failed} failed`);
if (failed > 0) process.exitCode = 1;

/** The outcome of a run that could not go to its end. */
function fallen(error: unknown): Outcome {
  return { wrong: [error instanceof Error ? error.message : String(error)], log: [] };
}

/** Installs what `packages/package.json` lists. The versions are fixed there. */
function install(): void {
  const list = readFileSync(path.join(import.meta.dirname, "packages/package.json"), "utf8");
  mkdirSync(packages, { recursive: true });
  writeFileSync(path.join(packages, "package.json"), list);
  const args = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
  const { status, stdout, stderr } = spawnSync("npm", args, { cwd: packages, encoding: "utf8" });
  if (status !== 0) throw new Error(`npm could not install the clients:\n${stdout}${stderr}`);
  const { dependencies } = JSON.parse(list) as { dependencies: Record<string, string> };
  for (const [name, version] of Object.entries(dependencies)) tell(`installed ${name} ${version}`);
  tell(`Node ${process.version}, ${process.platform}-${process.arch}`);
}
