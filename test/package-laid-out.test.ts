import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { publint } from "publint";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-laid-out-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const release = "build/Release";

describe("what packages/lay-out.mjs writes", () => {
  beforeAll(() => {
    const args = ["packages/lay-out.mjs", "--from", release, "--to", path.join(folder, "packages")];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toMatch(new RegExp(`^${process.platform}-${process.arch} .* MB packed .* MB unpacked$`, "m"));
  });
  const at = (...parts: string[]) => path.join(folder, "packages", ...parts);

  it("has this machine's addon and the sources, for who builds it", () => {
    const here = `${process.platform}-${process.arch}`;
    expect(readFileSync(at(here, "gpt_oss.node")).equals(readFileSync(`${release}/gpt_oss.node`))).toBe(true);
    for (const file of ["LICENSE", "THIRD_PARTY.md", "README.md"]) expect(existsSync(at(here, file))).toBe(true);
    const headers = ["napi.h", "node_api.h", "LICENSE.node-addon-api", "LICENSE.node-api-headers"];
    for (const file of headers) expect(existsSync(at("gpt-oss-node/native/node-api", file))).toBe(true);
    for (const file of ["dist/index.js", "native/build.mjs", "lib/demo-model/demo-model.safetensors"]) {
      expect(existsSync(at("gpt-oss-node", file))).toBe(true);
    }
    expect(existsSync(at("gpt-oss-node/build"))).toBe(false);
    // npm runs node-gyp for a package with this file
    expect(existsSync(at("gpt-oss-node/binding.gyp"))).toBe(false);
  });

  it("has entry points that Node, bundlers and TypeScript find (publint)", async () => {
    expect(await publint({ pkgDir: at("gpt-oss-node"), strict: true })).toMatchObject({ messages: [] });
  });

  it("has types that fit each entry point (attw)", () => {
    const cli = path.resolve("node_modules/@arethetypeswrong/cli/dist/index.js");
    // It is a package of ES modules: newer Nodes `require` those.
    const run = spawnSync(
      process.execPath,
      [cli, "--pack", at("gpt-oss-node"), "--profile", "esm-only", "--format", "json"],
      { encoding: "utf8", maxBuffer: 2 ** 26 },
    );
    expect(run.stderr).toBe("");
    expect(run.status).toBe(0);
    expect(JSON.parse(run.stdout)).toMatchObject({
      analysis: { packageName: "gpt-oss-node", types: { kind: "included" } },
    });
  });
});
