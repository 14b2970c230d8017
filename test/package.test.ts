import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../lib/binding.js";

interface Package {
  version: string;
  dev?: boolean;
  engines?: { node?: string };
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  libc?: string[];
}

interface Semver {
  subset(inner: string, outer: string): boolean;
  satisfies(version: string, range: string): boolean;
}

const read = <T>(file: string) => JSON.parse(readFileSync(path.join(packageRoot, file), "utf8")) as T;
const { packages } = read<{ packages: Record<string, Package> }>("package-lock.json");
const manifest = read<{ engines: { node: string }; overrides?: object; dependencies: Record<string, string> }>(
  "package.json",
);
const semver = createRequire(import.meta.url)("semver") as Semver;

/** The place where Node finds `name` from the package in `folder`, according to the lock file. */
function resolve(folder: string, name: string): string | undefined {
  for (let at = folder; ; at = at.slice(0, Math.max(0, at.lastIndexOf("/node_modules/")))) {
    const found = `${at === "" ? "" : `${at}/`}node_modules/${name}`;
    if (packages[found]) return found;
    if (at === "") return undefined;
  }
}

describe("package-lock.json", () => {
  it("lists every package that another one names, those for other platforms too: npm ci refuses a gap", () => {
    const gaps = Object.entries(packages).flatMap(([folder, { dependencies, optionalDependencies }]) =>
      Object.keys({ ...dependencies, ...optionalDependencies })
        .filter((name) => resolve(folder, name) === undefined)
        .map((name) => `${folder} needs ${name}`),
    );
    expect(gaps).toEqual([]);
    expect(resolve("node_modules/@biomejs/biome", "@biomejs/cli-darwin-arm64")).toBeDefined();
  });

  it("has nothing that one npm writes and another takes out", () => {
    expect(Object.keys(packages).filter((folder) => packages[folder]!.libc)).toEqual([]);
  });

  it("is of this package.json", () => {
    for (const part of ["dependencies", "devDependencies", "engines"]) {
      expect((packages[""] as unknown as Record<string, unknown>)[part]).toEqual(
        (manifest as unknown as Record<string, unknown>)[part],
      );
    }
  });
});

describe("what npm installs with the package", () => {
  it("runs on every Node that engines promises", () => {
    expect(semver.satisfies("20.17.0", manifest.engines.node)).toBe(true);
    const seen = new Set<string>();
    const tooNew: string[] = [];
    const visit = (folder: string) => {
      if (seen.has(folder)) return;
      seen.add(folder);
      const { engines, version, dependencies } = packages[folder]!;
      if (!semver.subset(manifest.engines.node, engines?.node || "*")) {
        tooNew.push(`${folder} ${version}: ${engines?.node}`);
      }
      for (const name of Object.keys(dependencies ?? {})) visit(resolve(folder, name)!);
    };
    visit("");
    for (const name of Object.keys(packages[""]!.dependencies!)) expect(seen).toContain(`node_modules/${name}`);
    expect(tooNew).toEqual([]);
  });

  it("does not rest on overrides, which npm knows only where it installs the checkout", () => {
    expect(manifest.overrides).toBeUndefined();
    // newer versions depend on cookie 2, which Node before 20.19 cannot load
    expect(manifest.dependencies["light-my-request"]).toBe("6.6.0");
    expect(resolve("node_modules/fastify", "light-my-request")).toBe("node_modules/light-my-request");
  });

  it("is listed in THIRD_PARTY.md", () => {
    const { status, stderr } = spawnSync(process.execPath, ["test/commands/third-party.mjs", "--check"], {
      cwd: packageRoot,
      encoding: "utf8",
    });
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });
});

describe("the tarball", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-tarball-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
  const [{ filename, files }] = JSON.parse(execFileSync("npm", pack, { cwd: packageRoot, encoding: "utf8" })) as [
    { filename: string; files: { path: string }[] },
  ];
  const names = files.map((file) => file.path);

  it("in an empty folder, without a compiler, answers a prompt by every entry point", () => {
    const project = path.join(folder, "project");
    const modules = path.join(project, "node_modules");
    const installed = path.join(modules, "gpt-oss-node");
    mkdirSync(installed, { recursive: true });
    execFileSync("tar", ["-xzf", path.join(folder, filename), "--strip-components", "1", "-C", installed]);
    for (const [place, { dev }] of Object.entries(packages)) {
      const [, name] = /^node_modules\/((?:@[^/]+\/)?[^/]+)$/.exec(place) ?? [];
      if (name === undefined || dev || !existsSync(path.join(packageRoot, place))) continue;
      mkdirSync(path.dirname(path.join(modules, name)), { recursive: true });
      symlinkSync(path.join(packageRoot, place), path.join(modules, name));
    }
    const ofPlatform = path.join(modules, "@gpt-oss-node", `${process.platform}-${process.arch}`);
    mkdirSync(ofPlatform, { recursive: true });
    const { version } = read<{ version: string }>("package.json");
    const name = `@gpt-oss-node/${path.basename(ofPlatform)}`;
    writeFileSync(path.join(ofPlatform, "package.json"), JSON.stringify({ name, version, main: "gpt_oss.node" }));
    copyFileSync(path.join(packageRoot, "build/Release/gpt_oss.node"), path.join(ofPlatform, "gpt_oss.node"));
    writeFileSync(path.join(project, "package.json"), '{ "type": "module" }');
    const program = path.join(project, "smoke-program.mjs");
    copyFileSync(path.join(packageRoot, "test/support/smoke-program.mjs"), program);
    const env = { PATH: path.join(folder, "nothing"), HOME: path.join(folder, "home") };
    const run = spawnSync(process.execPath, [program], { cwd: project, env, encoding: "utf8" });
    expect({ status: run.status, stderr: run.stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(run.stdout)).toMatchObject({
      ...{ answer: "7 + 8 = 15", served: "7 + 8 = 15", scripted: "Ahoy", tokens: 5 },
    });
  });

  it("has what runs, what builds the addon, the demo model and the docs", () => {
    // Without pictures: they would exceed the budget of the package.
    const sources = execFileSync("git", ["ls-files", "native", "kernels", "docs", ":!docs/images"], {
      cwd: packageRoot,
      encoding: "utf8",
    });
    expect(names).toEqual(
      expect.arrayContaining([
        ...sources.trim().split("\n"),
        ...["CMakeLists.txt", "CHANGELOG.md", "LICENSE", "README.md", "THIRD_PARTY.md", "package.json"],
        ...["dist/index.js", "dist/index.d.ts", "dist/cli/main.js", "dist/server/index.js", "dist/testing/index.js"],
        ...["dist/kernels/index.js", "dist/kernels/index.d.ts"],
        "lib/demo-model/demo-model.safetensors",
      ]),
    );
  });

  it("has nothing else", () => {
    const expected = /^(dist|docs|lib|native|kernels)\/|^(CMakeLists\.txt|[A-Z_]+(\.md)?|package\.json)$/;
    expect(names.filter((name) => !expected.test(name) || /recipe|\.test\.|\.cmake\/|\.py$/.test(name))).toEqual([]);
  });
});
