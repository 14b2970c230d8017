import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../lib/package-root.js";
import type { PlatformPackage } from "../../lib/platform-package.js";

/** Each case has a copy of the compiled package in a folder as a package manager makes it. */

const folder = realpathSync(mkdtempSync(path.join(tmpdir(), "gpt-oss-platform-")));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Found {
  addonPackage(platform: string): PlatformPackage | undefined;
  cudaPackage(platform: string): PlatformPackage | undefined;
}

/** The compiled lib/platform-package.ts of a copy of this package in `at`. */
async function packageAt(at: string): Promise<Found> {
  const root = path.join(folder, at);
  mkdirSync(path.join(root, "dist"), { recursive: true });
  writeFileSync(path.join(root, "package.json"), '{ "name": "gpt-oss-node", "version": "1.2.3", "type": "module" }');
  for (const file of ["platform-package.js", "package-root.js", "errors.js"]) {
    cpSync(path.join(packageRoot, "dist", file), path.join(root, "dist", file));
  }
  return (await import(pathToFileURL(path.join(root, "dist/platform-package.js")).href)) as Found;
}

function platformAt(at: string, file: string, version: string | null = "1.2.3"): string {
  const full = path.join(folder, at);
  mkdirSync(full, { recursive: true });
  writeFileSync(path.join(full, file), "");
  if (version) writeFileSync(path.join(full, "package.json"), JSON.stringify({ version }));
  return path.join(full, file);
}

describe("the package of a platform", () => {
  it("is found beside this package, for each platform", async () => {
    const { addonPackage, cudaPackage } = await packageAt("flat/node_modules/gpt-oss-node");
    expect(addonPackage("linux-x64")).toBeUndefined();
    for (const platform of ["linux-x64", "linux-arm64", "darwin-arm64"]) {
      const file = platformAt(`flat/node_modules/@gpt-oss-node/${platform}`, "gpt_oss.node");
      expect(addonPackage(platform)).toEqual({ name: `@gpt-oss-node/${platform}`, file });
    }
    const file = platformAt("flat/node_modules/@gpt-oss-node/linux-x64-cuda", "libgptoss_cuda.so");
    expect(cudaPackage("linux-x64")).toEqual({ name: "@gpt-oss-node/linux-x64-cuda", file });
    for (const platform of ["linux-arm64", "darwin-arm64", "win32-x64"]) expect(cudaPackage(platform)).toBeUndefined();
    expect(addonPackage("win32-x64")).toBeUndefined();
  });

  it("is found inside this package, before one of the project", async () => {
    const { addonPackage } = await packageAt("nested/node_modules/gpt-oss-node");
    platformAt("nested/node_modules/@gpt-oss-node/linux-x64", "gpt_oss.node", "9.9.9");
    const own = "nested/node_modules/gpt-oss-node/node_modules/@gpt-oss-node/linux-x64";
    const file = platformAt(own, "gpt_oss.node");
    expect(addonPackage("linux-x64")).toEqual({ name: "@gpt-oss-node/linux-x64", file });
  });

  it("is found further up, where npm has it for several packages", async () => {
    const { addonPackage } = await packageAt("up/node_modules/other/node_modules/gpt-oss-node");
    const file = platformAt("up/node_modules/@gpt-oss-node/linux-x64", "gpt_oss.node");
    expect(addonPackage("linux-x64")?.file).toBe(file);
  });

  it("is found behind the links of pnpm", async () => {
    const store = "pnpm/node_modules/.pnpm";
    const { addonPackage } = await packageAt(`${store}/gpt-oss-node@1.2.3/node_modules/gpt-oss-node`);
    const at = `${store}/@gpt-oss-node+linux-x64@1.2.3/node_modules/@gpt-oss-node/linux-x64`;
    const file = platformAt(at, "gpt_oss.node");
    const scope = path.join(folder, `${store}/gpt-oss-node@1.2.3/node_modules/@gpt-oss-node`);
    mkdirSync(scope);
    symlinkSync(path.join(folder, at), path.join(scope, "linux-x64"));
    expect(addonPackage("linux-x64")).toEqual({ name: "@gpt-oss-node/linux-x64", file });
  });

  it("may be the file alone, as a tracer copies it", async () => {
    const { addonPackage } = await packageAt("traced/node_modules/gpt-oss-node");
    const file = platformAt("traced/node_modules/@gpt-oss-node/linux-x64", "gpt_oss.node", null);
    expect(addonPackage("linux-x64")).toEqual({ name: "@gpt-oss-node/linux-x64", file });
  });

  it("has a problem when it is of another version", async () => {
    const { addonPackage } = await packageAt("other/node_modules/gpt-oss-node");
    platformAt("other/node_modules/@gpt-oss-node/linux-x64", "gpt_oss.node", "1.2.4");
    expect(addonPackage("linux-x64")?.problem).toBe(
      "@gpt-oss-node/linux-x64 has version 1.2.4, and gpt-oss-node has 1.2.3",
    );
  });
});
