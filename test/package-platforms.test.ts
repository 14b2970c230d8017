import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addonPackageName, prebuiltPlatforms } from "../lib/platform-package.js";

interface Manifest {
  name: string;
  version: string;
  private?: boolean;
  main?: string;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  files: string[];
  exports?: object;
  scripts?: object;
  dependencies?: Record<string, string>;
  devDependencies?: object;
  optionalDependencies?: Record<string, string>;
}
interface Platform {
  name: string;
  prebuilt: string;
  file: string;
  budget: number;
}
const { platforms, platformManifest, mainManifest, floor } = (await import(path.resolve("packages/platforms.mjs"))) as {
  platforms: Platform[];
  platformManifest(main: Manifest, platform: Platform): Manifest;
  mainManifest(main: Manifest): Manifest;
  floor: Record<string, string>;
};
const { examine, isNewer, problems } = (await import(path.resolve("packages/elf.mjs"))) as {
  examine(file: string): { needed: string[]; newest: Record<string, string> };
  isNewer(a: string, b: string): boolean;
  problems(found: { needed: string[]; newest: Record<string, string> }, floor: Record<string, string>): string[];
};

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-packages-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const read = (file: string) => JSON.parse(readFileSync(file, "utf8")) as Manifest;
const checkout = read("package.json");
const release = "build/Release";
const layOut = (...args: string[]) =>
  spawnSync(process.execPath, ["packages/lay-out.mjs", "--to", path.join(folder, "packages"), ...args], {
    encoding: "utf8",
  });

describe("the packages of the platforms", () => {
  const names = platforms.map(({ name }) => name);

  it("are those that lib/platform-package.ts finds", () => {
    expect(names.filter((name) => !name.endsWith("-cuda"))).toEqual(prebuiltPlatforms);
    const source = readFileSync("lib/platform-package.ts", "utf8");
    for (const { name, file } of platforms) {
      expect(source).toContain(`"../../${addonPackageName(name)}/${file}"`);
    }
  });

  it("say for which systems they are, and have no script", () => {
    const of = (name: string) => platformManifest(checkout, platforms.find((platform) => platform.name === name)!);
    expect(of("linux-x64")).toMatchObject({
      name: "@gpt-oss-node/linux-x64",
      version: checkout.version,
      ...{ os: ["linux"], cpu: ["x64"], libc: ["glibc"] },
      main: "gpt_oss.node",
    });
    expect(of("darwin-arm64")).toMatchObject({ os: ["darwin"], cpu: ["arm64"] });
    expect(of("darwin-arm64").libc).toBeUndefined();
    expect(of("linux-x64-cuda")).toMatchObject({ os: ["linux"], cpu: ["x64"], libc: ["glibc"] });
    for (const name of names) expect(of(name).scripts).toBeUndefined();
  });

  it("are optional dependencies of the published package, in its version", () => {
    const published = mainManifest(checkout);
    expect(published.optionalDependencies).toEqual(
      Object.fromEntries(names.map((name) => [`@gpt-oss-node/${name}`, checkout.version])),
    );
    expect(published.dependencies).toEqual(checkout.dependencies);
    expect(published.exports).toEqual(checkout.exports);
    for (const key of ["scripts", "devDependencies", "private", "allowScripts"])
      expect(published).not.toHaveProperty(key);
  });
});

describe("packages/lay-out.mjs", () => {
  it("does not empty a folder that has something else", () => {
    const run = spawnSync(process.execPath, ["packages/lay-out.mjs", "--to", "test"], { encoding: "utf8" });
    expect(run.status).toBe(1);
    expect(run.stderr).toContain("has other files");
    expect(existsSync("test/package-platforms.test.ts")).toBe(true);
  });

  it("fails when a platform of a release was not built, or a file exceeds its budget", () => {
    const missing = layOut("--from", release, "--all");
    expect(missing.status).toBe(1);
    expect(missing.stderr).toMatch(/^lay-out: no files for .*darwin-arm64.* in prebuilds\/$/m);
    const { file, budget } = platforms.find(({ prebuilt }) => prebuilt === `${process.platform}-${process.arch}`)!;
    writeFileSync(path.join(folder, file), Buffer.alloc(budget + 1));
    const large = layOut("--from", folder);
    expect(large.status).toBe(1);
    expect(large.stderr).toContain(`has ${budget + 1} bytes, and its budget is ${budget}`);
  });
});

describe("packages/publish.mjs", () => {
  // A program `npm` that knows one package, and writes down what it is to publish.
  const bin = path.join(folder, "bin");
  const written = path.join(folder, "published");
  const from = path.join(folder, "release");
  const publish = () =>
    spawnSync(process.execPath, ["packages/publish.mjs", "--from", from], {
      encoding: "utf8",
      env: { PATH: bin, WRITTEN: written, KNOWN: `@gpt-oss-node/linux-arm64@${checkout.version}` },
    });
  beforeAll(() => {
    mkdirSync(bin);
    writeFileSync(
      path.join(bin, "npm"),
      `#!${process.execPath}
const [command, name] = process.argv.slice(2);
const fs = require("node:fs");
if (command === "view") name === process.env.KNOWN ? console.log(name.split("@").at(-1)) : process.exit(1);
else fs.appendFileSync(process.env.WRITTEN, process.argv.slice(2).join(" ") + "\\n");
`,
      { mode: 0o755 },
    );
    for (const name of [...platforms.map((platform) => platform.name), "gpt-oss-node"]) {
      mkdirSync(path.join(from, name), { recursive: true });
      const manifest = { name: name === "gpt-oss-node" ? name : `@gpt-oss-node/${name}`, version: checkout.version };
      writeFileSync(path.join(from, name, "package.json"), JSON.stringify(manifest));
    }
  });

  it("publishes the platforms first, with provenance, and leaves out what is there", () => {
    const { status, stdout } = publish();
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: `@gpt-oss-node/linux-arm64@${checkout.version} is there already\n`,
    });
    const names = ["linux-x64", "darwin-arm64", "linux-x64-cuda"].map((name) => `gpt-oss-node-${name}`);
    expect(readFileSync(written, "utf8").trim().split("\n")).toEqual(
      [...names, "gpt-oss-node"].map(
        (name) => `publish ${path.join(from, name)}-${checkout.version}.tgz --provenance --access public`,
      ),
    );
  });

  it("publishes nothing when a package is missing", () => {
    rmSync(written);
    rmSync(path.join(from, "darwin-arm64"), { recursive: true });
    const { status, stderr } = publish();
    expect(status).toBe(1);
    expect(stderr).toMatch(/^publish: there is no .*darwin-arm64.*package\.json/);
    expect(existsSync(written)).toBe(false);
  });
});

describe("what the built files ask of Linux", () => {
  const files = ["gpt_oss.node", "libgptoss_cuda.so"].map((name) => `${release}/${name}`).filter(existsSync);

  it.each(files)("%s needs no library that Node does not need: it loads in a slim image", (file) => {
    const found = examine(file);
    expect(found.needed).toContain("libc.so.6");
    expect(problems(found, {})).toEqual([]);
  });

  it("is compared with the oldest system by number", () => {
    expect(isNewer("2.34", "2.4")).toBe(true);
    expect(isNewer("2.4", "2.34")).toBe(false);
    expect(isNewer("3.4.25", "3.4.25")).toBe(false);
    expect(isNewer("3.4", "3.4.25")).toBe(false);
    expect(isNewer("3.4.25", "3.4")).toBe(true);
    const found = { needed: ["libc.so.6", "libgomp.so.1"], newest: { GLIBC: "2.34", GLIBCXX: "3.4.9" } };
    expect(problems(found, floor)).toEqual([
      "it needs libgomp.so.1, which Node does not",
      "it needs GLIBC_2.34, and the oldest system has GLIBC_2.28",
    ]);
  });

  it("is told by npm run package:check, which fails where the system is older", () => {
    const run = spawnSync(process.execPath, ["packages/check.mjs", files[0]!], { encoding: "utf8" });
    const found = examine(files[0]!);
    expect(run.stdout).toContain(`GLIBC_${found.newest.GLIBC}`);
    expect(run.status).toBe(problems(found, floor).length > 0 ? 1 : 0);
    expect(() => examine("package.json")).toThrowError("package.json is no shared library of Linux");
  });
});
