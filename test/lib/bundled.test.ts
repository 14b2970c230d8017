import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import ts from "typescript";
import { afterAll, describe, expect, it } from "vitest";
import { addonNotFound, buildAdvice, type Failure, installAdvice } from "../../lib/addon-not-found.js";
import { addon, packageRoot } from "../../lib/binding.js";
import { packageManifest, readManifest } from "../../lib/package-root.js";

const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-bundled-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a bundle of a program that uses this package", () => {
  it.each([
    ["esm", "app.mjs"],
    ["cjs", "app.cjs"],
  ] as const)("of %s runs when the package is external", async (format, name) => {
    const project = path.join(folder, `app-${format}`);
    mkdirSync(path.join(project, "node_modules"), { recursive: true });
    symlinkSync(packageRoot, path.join(project, "node_modules/gpt-oss-node"));
    const outfile = path.join(project, name);
    await build({
      stdin: {
        contents: `import { Engine } from "gpt-oss-node";
          Engine.load("synthetic:tiny").then(async (engine) => {
            console.log((await engine.generate([1, 2], { maxTokens: 3, ignoreEos: true }).result).tokens.length);
            await engine.close();
          });`,
        resolveDir: project,
      },
      bundle: true,
      platform: "node",
      external: ["gpt-oss-node"],
      format,
      outfile,
      logLevel: "error",
    });
    const { stdout } = await promisify(execFile)(process.execPath, [outfile]);
    expect(stdout).toBe("3\n");
  });
});

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
  expect(traced("lib/platform-package.ts")).toEqual([
    "../../@gpt-oss-node/linux-x64/gpt_oss.node",
    "../../@gpt-oss-node/linux-arm64/gpt_oss.node",
    "../../@gpt-oss-node/darwin-arm64/gpt_oss.node",
    "../../@gpt-oss-node/linux-x64-cuda/libgptoss_cuda.so",
  ]);
  expect(traced("lib/demo-model/index.ts")).toContain("../../lib/demo-model/demo-model.safetensors");
});

describe("ADDON_NOT_FOUND", () => {
  const made = (root: string, project?: string) => {
    const full = path.join(folder, root);
    mkdirSync(full, { recursive: true });
    if (project !== undefined) writeFileSync(path.join(folder, project, "package.json"), "{}");
    return full;
  };
  const installed = made("app/node_modules/gpt-oss-node", "app");
  const { version } = packageManifest();

  it("gives the command that builds the addon, for each place of the package", () => {
    expect(buildAdvice(packageRoot)).toBe(`npm run build in ${packageRoot}`);
    expect(buildAdvice(installed)).toBe(`node ${installed}/native/build.mjs`);
    const pnpm = made("app/node_modules/.pnpm/gpt-oss-node@0.1.0/node_modules/gpt-oss-node");
    expect(buildAdvice(pnpm)).toBe(`node ${pnpm}/native/build.mjs`);
    const unplugged = made("app/.yarn/unplugged/gpt-oss-node-npm-0.1.0/node_modules/gpt-oss-node");
    expect(buildAdvice(unplugged)).toBe(`node ${unplugged}/native/build.mjs`);
    expect(buildAdvice(made("app/.yarn/cache/gpt-oss-node-npm-0.1.0.zip/node_modules/gpt-oss-node"))).toBe(
      "yarn unplug gpt-oss-node, then node native/build.mjs there",
    );
    expect(buildAdvice("/nonexistent/node_modules/gpt-oss-node")).toMatch(/build\.mjs by a user who may write there$/);
  });

  it("gives the command that installs a package, for each package manager", () => {
    const name = `@gpt-oss-node/linux-x64@${version}`;
    const advice = (root: string) => installAdvice(root, "linux-x64");
    expect(advice(installed)).toBe(`npm install ${name} in ${folder}/app`);
    expect(advice(made("app/node_modules/other/node_modules/gpt-oss-node"))).toContain(`in ${folder}/app`);
    expect(advice(made("lib/node_modules/gpt-oss-node"))).toBe(`npm install --global ${name}`);
    expect(advice(made("app/node_modules/.pnpm/gpt-oss-node@0.1.0/node_modules/gpt-oss-node"))).toBe(
      `pnpm add ${name} in ${folder}/app`,
    );
    expect(advice(made("app/.yarn/unplugged/x/node_modules/gpt-oss-node"))).toBe(`yarn add ${name}`);
    const withYarn = made("yarn1/node_modules/gpt-oss-node", "yarn1");
    writeFileSync(path.join(folder, "yarn1/yarn.lock"), "");
    expect(advice(withYarn)).toBe(`yarn add ${name} in ${folder}/yarn1`);
    expect(installAdvice(installed)).toBe(`npm install gpt-oss-node@${version} in ${folder}/app`);
  });

  const messageOf = (failure: Partial<Failure>) => {
    const facts = { root: installed, platform: "linux-x64", tried: ["/a", "/b"], glibc: "2.36" };
    const { code, message } = addonNotFound({ ...facts, ...failure });
    expect(code).toBe("ADDON_NOT_FOUND");
    return message;
  };
  const broken = (reason: string) => ({ broken: { file: "/a", reason, cause: new Error(reason) } });

  it("says that the platform's package is not installed, and what leaves it out", () => {
    const message = messageOf({});
    expect(message).toContain("the optional package @gpt-oss-node/linux-x64 is not installed. Tried /a, /b.");
    expect(message).toContain("--omit=optional");
    expect(message).toContain(`Install it: npm install @gpt-oss-node/linux-x64@${version} in ${folder}/app.`);
    expect(message).toContain(`Or build it from source: node ${installed}/native/build.mjs.`);
  });

  it("says for which platforms there is one", () => {
    const message = messageOf({ platform: "linux-riscv64" });
    expect(message).toContain("prebuilt ones are for linux-x64, linux-arm64, darwin-arm64 only");
    expect(message).toContain("Tried /a, /b. Build it from source: node");
  });

  it("refuses musl by name, with and without a package", () => {
    for (const failure of [
      {},
      broken("Error loading shared library ld-linux-x86-64.so.2: No such file or directory"),
    ]) {
      expect(messageOf({ ...failure, glibc: null })).toContain(
        "musl (Alpine Linux) is not supported: use an image with glibc, such as node:22-slim. Or build",
      );
    }
  });

  it("says when glibc or libstdc++ is too old", () => {
    const reason = "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by /a)";
    expect(messageOf({ ...broken(reason), glibc: "2.31" })).toContain(
      "It needs a newer glibc than that of this system, 2.31: use a newer system or image. Or build",
    );
    expect(messageOf(broken("libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by /a)"))).toContain(
      "It needs a newer libstdc++: use a newer system or image. Or build",
    );
  });

  it("says that the platform's package is of another version", () => {
    const message = messageOf({ mismatch: "@gpt-oss-node/linux-x64 has version 0.0.1, and gpt-oss-node has 0.1.0" });
    expect(message).toContain("No native addon was loaded: @gpt-oss-node/linux-x64 has version 0.0.1");
    expect(message).toContain(`Install both in one version: npm install gpt-oss-node@${version} in ${folder}/app.`);
  });

  it("advises a build alone in a checkout", () => {
    expect(messageOf({ root: packageRoot })).toContain(
      `Tried /a, /b. Build it from source: npm run build in ${packageRoot}.`,
    );
  });

  it("names the tools that a build lacks", () => {
    const before = process.env.PATH;
    try {
      process.env.PATH = folder;
      writeFileSync(path.join(folder, "cmake"), "");
      expect(messageOf({})).toContain("not on PATH: g++ or clang++, ninja or make");
    } finally {
      process.env.PATH = before;
    }
  });

  it("becomes another error where the system has no memory or no more files for the addon", () => {
    const refusal = (reason: string, file = "/gpt_oss.node") =>
      addonNotFound({
        ...{ root: packageRoot, platform: "linux-x64", tried: [file] },
        broken: { file, reason, cause: new Error(reason) },
      });
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
    expect(await run()).toMatch(/^ADDON_NOT_FOUND No native addon .* was found: .* build it from source/);
    mkdirSync(path.join(root, "build/Release"), { recursive: true });
    writeFileSync(path.join(root, "build/Release/gpt_oss.node"), "of another platform");
    expect(await run()).toMatch(
      /^ADDON_NOT_FOUND The native addon .*gpt_oss\.node does not load here .* build it from source/,
    );
  });
});

it("the addon has the path of its file", () => {
  expect(addon().path).toBe(path.join(packageRoot, "build/Release/gpt_oss.node"));
});
