// For test:node-versions and test:package-managers: the packed packages on a registry of this machine, and projects that
// install them.
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { startRegistry } from "./registry.mjs";

const root = path.resolve(import.meta.dirname, "../..");

/**
 * Runs a command whose arguments are names, and `--packages FOLDER` with packed packages. Starts a registry with them, or
 * else with those that are made of build/Release. Gives `use` the names and a folder for projects, and cleans up after it.
 */
export async function withPackedPackages(use) {
  const { values, positionals: names } = parseArgs({
    options: { packages: { type: "string" } },
    allowPositionals: true,
  });
  const packed = values.packages && path.resolve(values.packages);
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-packed-"));
  let registry;
  try {
    const packages = packed ?? path.join(folder, "packages");
    const args = ["packages/lay-out.mjs", "--from", "build/Release", "--pack", "--to", packages];
    if (!packed && spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" }).status !== 0) process.exit(1);
    registry = await startRegistry(packages);
    await use({ names, folder, registry: registry.url });
  } finally {
    await registry?.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Installs programs of the public registry into a folder of build/ that later runs use again. */
export function tools(folder, ...names) {
  const at = path.join(root, "build", folder);
  mkdirSync(at, { recursive: true });
  const args = ["install", "--prefix", at, "--no-save", "--no-bin-links", "--no-audit", "--no-fund", ...names];
  const { status } = spawnSync("npm", args, { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) {
    console.error(`NOT RUN: npm could not install ${names.join(", ")}`);
    process.exit(2);
  }
  return path.join(at, "node_modules");
}

/** A folder with the smoke program and the files of `settings`. */
export function project(folder, name, settings = {}) {
  const at = path.join(folder, name);
  mkdirSync(at);
  const files = { "package.json": '{ "name": "project", "version": "1.0.0", "type": "module" }', ...settings };
  for (const [file, text] of Object.entries(files)) writeFileSync(path.join(at, file), text);
  cpSync(path.join(root, "test/support/smoke-program.mjs"), path.join(at, "smoke-program.mjs"));
  return at;
}

/** Runs a program beside the registry, which this process serves. Throws with its output when it fails. */
export function run(program, args, { cwd, env = process.env }) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (text) => {
      stdout += text;
    });
    child.stderr.on("data", (text) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (status) => {
      if (status === 0) resolve({ stdout, stderr });
      else reject(new Error(`${[program, ...args].join(" ")} ended with ${status}:\n${stdout}${stderr}`));
    });
  });
}

/** Returns what the smoke program printed, or throws what is wrong with it. */
export function smokeResult({ stdout, stderr }) {
  const found = JSON.parse(stdout.trim().split("\n").at(-1));
  const expected = { answer: "7 + 8 = 15", served: "7 + 8 = 15", scripted: "Ahoy", tokens: 5 };
  for (const [name, value] of Object.entries(expected)) {
    if (found[name] !== value) throw new Error(`expected ${name} ${value} but received ${found[name]}`);
  }
  if (found.required === false) throw new Error("require gave another Engine than import");
  if (stderr !== "") throw new Error(`it warned: ${stderr}`);
  return found;
}

/** Runs named checks in turn. The last line is "N passed, N failed". */
export async function report(checks) {
  let failed = 0;
  for (const [name, check] of checks) {
    try {
      console.log(`${name}: ${await check()}`);
    } catch (error) {
      failed++;
      console.error(`${name}: FAILED: ${error.message}`);
    }
  }
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
}
