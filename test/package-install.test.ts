import { execFileSync, type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

/**
 * A user's folder in which npm installs the packed packages from a registry on this machine. PATH has `node` alone: no
 * compiler, no cmake, no make and no shell of ours.
 */

interface Registry {
  url: string;
  asked: string[];
  close(): Promise<void>;
}
const { startRegistry } = (await import(path.resolve("test/support/registry.mjs"))) as {
  startRegistry(packages: string): Promise<Registry>;
};

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-install-"));
const packages = path.join(folder, "packages");
const bin = path.join(folder, "bin");
const home = path.join(folder, "home");
const here = `${process.platform}-${process.arch}`;
const npmCli = path.join(execFileSync("npm", ["root", "-g"], { encoding: "utf8" }).trim(), "npm/bin/npm-cli.js");
const environment = { PATH: bin, HOME: home, npm_config_cache: path.join(folder, "cache"), npm_config_audit: "false" };
const hasCuda = existsSync("build/Release/libgptoss_cuda.so");
let registry: Registry;

/** Runs a program of Node beside the registry, which this process serves. */
function node(cwd: string, args: string[], options: { uid?: number; gid?: number; env?: object } = {}) {
  return new Promise<Pick<SpawnSyncReturns<string>, "status" | "stdout" | "stderr">>((resolve) => {
    const child = spawn(process.execPath, args, { cwd, ...options, env: { ...environment, ...options.env } });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (text) => (stdout += text));
    child.stderr.on("data", (text) => (stderr += text));
    child.on("close", (status) => resolve({ status, stdout, stderr }));
  });
}

async function install(name: string, ...flags: string[]): Promise<string> {
  const project = path.join(folder, name);
  mkdirSync(project);
  writeFileSync(path.join(project, "package.json"), '{ "name": "project", "type": "module" }');
  cpSync("test/support/smoke-program.mjs", path.join(project, "smoke-program.mjs"));
  const args = [npmCli, "install", "gpt-oss-node", "--registry", registry.url, "--no-fund", ...flags];
  expect(await node(project, args)).toMatchObject({ status: 0 });
  return project;
}

/** What `gpt-oss doctor` finds. */
async function doctor(project: string): Promise<{ addon: string; cuda: string }> {
  const { stdout } = await node(project, [path.join(project, "node_modules/.bin/gpt-oss"), "doctor", "--json"]);
  const report = JSON.parse(stdout) as { addon: { path: string }; backends: { name: string; detail: string }[] };
  return { addon: report.addon.path, cuda: report.backends.find(({ name }) => name === "cuda")!.detail };
}

beforeAll(async () => {
  for (const made of [bin, home]) mkdirSync(made);
  symlinkSync(process.execPath, path.join(bin, "node"));
  const laidOut = spawnSync(
    process.execPath,
    ["packages/lay-out.mjs", "--from", "build/Release", "--pack", "--to", packages],
    { encoding: "utf8" },
  );
  expect(laidOut.stderr).toBe("");
  registry = await startRegistry(packages);
});
afterAll(async () => {
  await registry?.close();
  rmSync(folder, { recursive: true, force: true });
});

describe("npm install gpt-oss-node, without a compiler", () => {
  let project: string;
  beforeAll(async () => {
    project = await install("plain", "--ignore-scripts");
  });

  it("answers a prompt by every entry point", async () => {
    const { status, stdout, stderr } = await node(project, ["smoke-program.mjs"]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ answer: "7 + 8 = 15", served: "7 + 8 = 15", scripted: "Ahoy", tokens: 5 },
      required: true,
    });
  });

  it("answers a prompt on the command line", async () => {
    const command = path.join(project, "node_modules/.bin/gpt-oss");
    const run = await node(project, [command, "generate", "demo", "--prompt", "What is 7 + 8?", "--temperature", "0"]);
    expect(run).toMatchObject({ status: 0, stdout: expect.stringContaining("15") });
  });

  it("takes the addon and the CUDA module from the packages of this platform", async () => {
    const { addon, cuda } = await doctor(project);
    expect(addon).toBe(path.join(project, `node_modules/@gpt-oss-node/${here}/gpt_oss.node`));
    if (hasCuda) expect(cuda).not.toMatch(/not in this build|not installed/);
  });

  it("installed nothing that has a script, or is for another platform", () => {
    const lock = JSON.parse(readFileSync(path.join(project, "package-lock.json"), "utf8")) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    const installed = Object.entries(lock.packages);
    expect(installed.length).toBeGreaterThan(40);
    expect(installed.filter(([, { hasInstallScript }]) => hasInstallScript)).toEqual([]);
    const archives = registry.asked.filter((url) => /^\/@gpt-oss-node\/.*\/-\//.test(url));
    expect(archives.filter((url) => !url.includes(here))).toEqual([]);
  });

  describe("for a user who may not write there", () => {
    const nobody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
    beforeAll(() => {
      spawnSync("chmod", ["a+rx", folder]);
      spawnSync("chmod", ["-R", "a+rX,a-w", project]);
    });
    afterAll(() => spawnSync("chmod", ["-R", "u+w", project]));

    it("answers a prompt with the demo model, which needs the folder for temporary files", async () => {
      const temporary = path.join(folder, "temporary");
      mkdirSync(temporary);
      spawnSync("chmod", ["a+rwx", temporary]);
      const env = { HOME: "/nonexistent", TMPDIR: temporary };
      const run = await node(project, ["smoke-program.mjs"], { ...nobody, env });
      expect(run.stderr).toBe("");
      expect(JSON.parse(run.stdout)).toMatchObject({ answer: "7 + 8 = 15" });
    });

    it("runs another model where nothing can be written", async () => {
      const program = `import { Engine } from "gpt-oss-node";
        const engine = await Engine.load("synthetic:tiny");
        console.log((await engine.generate([1, 2], { maxTokens: 3, ignoreEos: true }).result).tokens.length);
        await engine.close();`;
      const env = { HOME: "/nonexistent", TMPDIR: "/nonexistent" };
      const run = await node(project, ["--input-type=module", "-e", program], { ...nobody, env });
      expect(run).toEqual({ status: 0, stdout: "3\n", stderr: "" });
    });

    it("says that a build needs another user", async () => {
      const file = path.join(project, "node_modules/gpt-oss-node/native/build.mjs");
      const run = await node(project, [file], nobody);
      expect(run.status).toBe(1);
      expect(run.stderr).toContain(`cannot be written: ${path.join(project, "node_modules/gpt-oss-node")}`);
    });
  });
});

describe("an installation without its platform's package", () => {
  let project: string;
  beforeAll(async () => {
    project = await install("without", "--omit=optional");
  });
  const load =
    'import { Engine } from "gpt-oss-node"; Engine.load("demo").catch((e) => console.log(e.code, e.message));';

  it("says which package is missing, why, and both ways to get an addon", async () => {
    const { stdout } = await node(project, ["--input-type=module", "-e", load]);
    expect(stdout).toContain(`ADDON_NOT_FOUND No native addon for ${here} was found`);
    expect(stdout).toContain(`the optional package @gpt-oss-node/${here} is not installed`);
    expect(stdout).toContain("--omit=optional");
    expect(stdout).toContain(`npm install @gpt-oss-node/${here}@`);
    expect(stdout).toContain(`node ${project}/node_modules/gpt-oss-node/native/build.mjs`);
    expect(stdout).toContain("not on PATH: cmake, g++ or clang++, ninja or make");
  });

  it("names the missing tools when it is built", async () => {
    const run = await node(project, ["node_modules/gpt-oss-node/native/build.mjs"]);
    expect(run.status).toBe(1);
    expect(run.stderr).toContain("CMake >= 3.20, and a C++20 compiler, g++ >= 12, and ninja or make");
  });

  it("refuses the package of another version", async () => {
    const other = path.join(project, `node_modules/@gpt-oss-node/${here}`);
    cpSync(path.join(packages, here), other, { recursive: true });
    const manifest = path.join(other, "package.json");
    const { version, ...rest } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
    writeFileSync(manifest, JSON.stringify({ ...rest, version: "0.0.1" }));
    const { stdout } = await node(project, ["--input-type=module", "-e", load]);
    expect(stdout).toContain(`@gpt-oss-node/${here} has version 0.0.1, and gpt-oss-node has ${version}`);
    expect(stdout).toContain(`npm install gpt-oss-node@${version} in ${project}`);
  });

  it("is mended by the command that the message names", async () => {
    const args = [npmCli, "install", "--registry", registry.url, "--include=optional", `@gpt-oss-node/${here}`];
    expect(await node(project, args)).toMatchObject({ status: 0 });
    const { stdout } = await node(project, ["smoke-program.mjs"]);
    expect(JSON.parse(stdout)).toMatchObject({ answer: "7 + 8 = 15" });
  });

  it("says that the package of the CUDA module is not installed", async () => {
    rmSync(path.join(project, `node_modules/@gpt-oss-node/${here}-cuda`), { recursive: true, force: true });
    const { cuda } = await doctor(project);
    expect(cuda).toContain(hasCuda ? "the package of the CUDA module is not installed" : "not in this build");
  });
});
