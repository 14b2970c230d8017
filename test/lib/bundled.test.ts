import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import ts from "typescript";
import { afterAll, describe, expect, it } from "vitest";
import { addonNotFound, rebuildAdvice } from "../../lib/addon-not-found.js";
import { addon, packageRoot } from "../../lib/binding.js";
import { readManifest } from "../../lib/package-root.js";

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-bundled-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a bundle of this package", () => {
  it.each([
    ["esm", "bundle.mjs"],
    ["cjs", "bundle.cjs"],
  ] as const)("of %s says that the package is to be external", async (format, name) => {
    const outfile = path.join(folder, name);
    await build({
      stdin: {
        contents: `import { Engine } from ${JSON.stringify(path.join(packageRoot, "lib/index.ts"))};
          Engine.load("demo").catch(({ code, message }) => console.log(code, message));`,
        resolveDir: packageRoot,
      },
      bundle: true,
      platform: "node",
      format,
      outfile,
      logLevel: "error",
    });
    const { stdout } = await promisify(execFile)(process.execPath, [outfile]);
    expect(stdout).toMatch(/^ADDON_NOT_FOUND gpt-oss-node has been bundled/);
    expect(stdout).toContain("--external:gpt-oss-node");
    expect(stdout).toContain('serverExternalPackages: ["gpt-oss-node"]');
  });

  it("differs from the package by the package.json above it", () => {
    writeFileSync(path.join(folder, "package.json"), '{ "name": "somebody-elses", "version": "1.0.0" }');
    const inside = (file: string) => pathToFileURL(path.join(folder, file));
    for (const url of [inside("package.json"), inside("a/package.json"), undefined]) {
      expect(() => readManifest(url)).toThrowError(expect.objectContaining({ code: "ADDON_NOT_FOUND" }));
    }
    expect(readManifest(pathToFileURL(path.join(packageRoot, "package.json"))).name).toBe("gpt-oss-node");
  });
});

/** Files that tracers find: those of each separate `const name = new URL("…", import.meta.url)`. */
function traced(file: string): string[] {
  const text = readFileSync(path.join(packageRoot, file), "utf8");
  const found: string[] = [];
  const visit = (node: ts.Node) => {
    if (ts.isVariableDeclaration(node) && node.initializer && ts.isNewExpression(node.initializer)) {
      const [name, base] = node.initializer.arguments ?? [];
      if (name && ts.isStringLiteral(name) && base?.getText() === "import.meta.url") found.push(name.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true));
  return found;
}

it("tracers such as @vercel/nft find the addon and the demo model", () => {
  expect(traced("lib/binding.ts")).toContain("../build/Release/gpt_oss.node");
  expect(traced("lib/demo-model/index.ts")).toContain("../../lib/demo-model/demo-model.safetensors");
});

describe("ADDON_NOT_FOUND", () => {
  const at = (root: string, project?: string) => {
    const full = path.join(folder, root);
    mkdirSync(full, { recursive: true });
    if (project !== undefined) writeFileSync(path.join(folder, project, "package.json"), "{}");
    return rebuildAdvice(full);
  };

  it("gives the advice that works for the package's folder", () => {
    expect(rebuildAdvice(packageRoot)).toBe(`npm run build in ${packageRoot}`);
    expect(at("app/node_modules/gpt-oss-node", "app")).toBe(
      `npm rebuild gpt-oss-node --ignore-scripts=false in ${folder}/app`,
    );
    expect(at("app/node_modules/other/node_modules/gpt-oss-node")).toContain(`in ${folder}/app`);
    expect(at("lib/node_modules/gpt-oss-node")).toContain("npm rebuild --global gpt-oss-node");
    expect(at("app/node_modules/.pnpm/gpt-oss-node@0.1.0/node_modules/gpt-oss-node")).toBe(
      `pnpm approve-builds, then pnpm rebuild gpt-oss-node, in ${folder}/app`,
    );
    expect(at("app/.yarn/cache/gpt-oss-node-npm-0.1.0.zip/node_modules/gpt-oss-node")).toMatch(/^yarn unplug/);
    expect(at("app/.yarn/unplugged/gpt-oss-node-npm-0.1.0/node_modules/gpt-oss-node")).toBe(
      "yarn rebuild gpt-oss-node",
    );
    expect(at("vendor/gpt-oss-node")).toBe(`node native/build.mjs in ${folder}/vendor/gpt-oss-node`);
  });

  it("names the tools that a build lacks", () => {
    const before = process.env.PATH;
    try {
      process.env.PATH = folder;
      writeFileSync(path.join(folder, "cmake"), "");
      const { code, message } = addonNotFound({ root: packageRoot, tried: ["/a", "/b"] });
      expect(code).toBe("ADDON_NOT_FOUND");
      expect(message).toContain("Tried /a, /b.");
      expect(message).toContain("--ignore-scripts");
      expect(message).toContain("not on PATH: g++ or clang++, ninja or make");
    } finally {
      process.env.PATH = before;
    }
  });

  it("becomes another error where the system has no memory or no more files for the addon", () => {
    const refusal = (reason: string, file = "/gpt_oss.node") =>
      addonNotFound({ root: packageRoot, tried: [file], broken: { file, reason, cause: new Error(reason) } });
    const unmapped = "gpt_oss.node: failed to map segment from shared object";
    expect(refusal(unmapped)).toMatchObject({ code: "OUT_OF_MEMORY", message: expect.stringContaining("ulimit -v") });
    expect(refusal("libc: cannot allocate memory in static TLS block").code).toBe("OUT_OF_MEMORY");
    expect(refusal("gpt_oss.node: cannot open shared object file: Too many open files")).toMatchObject({
      code: "RESOURCE_LIMIT",
      message: expect.stringContaining("ulimit -n"),
    });
    expect(refusal(`${unmapped}: Operation not permitted`).code).toBe("ADDON_NOT_FOUND");
    expect(refusal("libstdc++.so.6: cannot open shared object file: No such file or directory").code).toBe(
      "ADDON_NOT_FOUND",
    );
  });

  it("comes from an installed package without an addon, and with one that does not load", async () => {
    const root = path.join(folder, "project/node_modules/gpt-oss-node");
    for (const part of ["dist", "package.json"])
      cpSync(path.join(packageRoot, part), path.join(root, part), { recursive: true });
    writeFileSync(path.join(folder, "project/package.json"), '{ "type": "module" }');
    const program = path.join(folder, "project/index.js");
    writeFileSync(
      program,
      'import { Engine } from "gpt-oss-node"; Engine.load("synthetic:tiny").catch((e) => console.log(e.code, e.message));',
    );
    const run = async () => (await promisify(execFile)(process.execPath, [program])).stdout;
    expect(await run()).toMatch(/^ADDON_NOT_FOUND No native addon .* was found: .* npm rebuild gpt-oss-node/);
    mkdirSync(path.join(root, "build/Release"), { recursive: true });
    writeFileSync(path.join(root, "build/Release/gpt_oss.node"), "of another platform");
    expect(await run()).toMatch(/^ADDON_NOT_FOUND The native addon .*gpt_oss\.node does not load here .*npm rebuild/);
  });
});

it("the addon has the path of its file", () => {
  expect(addon().path).toBe(path.join(packageRoot, "build/Release/gpt_oss.node"));
});
