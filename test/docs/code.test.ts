import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../lib/package-root.js";
import { type Block, pages } from "../support/markdown.js";
import { freeNames } from "../support/names.js";

// A user's project, in which the packages that samples import are installed.
const project = mkdtempSync(path.join(tmpdir(), "gpt-oss-docs-"));
mkdirSync(path.join(project, "node_modules/@types"), { recursive: true });
symlinkSync(packageRoot, path.join(project, "node_modules/gpt-oss-node"));
for (const name of ["openai", "fastify", "@types/node"]) {
  symlinkSync(path.join(packageRoot, "node_modules", name), path.join(project, "node_modules", name));
}
writeFileSync(path.join(project, "package.json"), '{ "type": "module" }');
afterAll(() => rmSync(project, { recursive: true, force: true }));

/** Objects that a sample may use without creating them. Each is declared before the sample that uses it. */
const given: Record<string, string> = {
  engine: 'const engine = await (await import("gpt-oss-node")).Engine.load("demo");',
  messages: 'const messages = [{ role: "user", content: "Who are you?" }];',
  schema: 'const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };',
  tools:
    'const tools = [{ type: "function", function: { name: "now", parameters: { type: "object", properties: {} } } }];',
  signal: "const { signal } = new AbortController();",
  text: 'const text = "Ahoy, sailor!";',
  texts: 'const texts = ["Ahoy, sailor!", "Land in sight."];',
  key: 'const key = "secret";',
  yourFastifyApp: 'const yourFastifyApp = (await import("fastify")).fastify();',
};
/** Code to close objects after the sample, the last object first. */
const closers: Record<string, string> = {
  engine: "await engine.close();",
  app: "await app.close();",
  yourFastifyApp: "await yourFastifyApp.close();",
};
/** A server for samples that send requests. */
const demoServer = `const { Engine: DemoEngine } = await import("gpt-oss-node");
const demo = await DemoEngine.load("demo");
const service = await (await import("gpt-oss-node/server")).createServer({ engine: demo, modelName: "gpt-oss-20b" });
const address = await service.listen({ port: 0 });
process.env.KEY = "none";\n`;

/** The sample as a separate program, on the demo model. */
function programOf(code: string): string {
  const { declared, free } = freeNames(code);
  const asks = code.includes("http://127.0.0.1:8080");
  const before = Object.keys(given).filter((name) => free.has(name));
  // Also closes objects that the sample creates and does not close, so that its program ends.
  const open = Object.keys(closers).filter((name) => (free.has(name) || declared.has(name)) && !closes(code, name));
  return [
    asks ? demoServer : "",
    ...before.map((name) => given[name]),
    code
      .replaceAll('"/models/gpt-oss-20b"', '"demo"')
      .replaceAll(/"http:\/\/127\.0\.0\.1:8080([^"]*)"/g, 'address + "$1"')
      .replaceAll("port: 8080", "port: 0"),
    ...open.reverse().map((name) => closers[name]),
    asks ? "await service.close(); await demo.close();" : "",
  ].join("\n");
}

const closes = (code: string, name: string) => code.includes(`${name}.close()`);

/** The outputs that a sample promises, as in `// → Ahoy`. */
const promised = (code: string) => [...code.matchAll(/\/\/ → (.+)$/gm)].map(([, printed]) => printed!.trim());

const blocks = pages.flatMap((page) => page.blocks);
const ofLanguage = (language: string) => blocks.filter((block) => block.language === language);

describe("the code of the docs", () => {
  it("is in languages that a test knows", () => {
    const known = ["", "sh", "js", "ts", "json", "toml", "yaml", "text"];
    expect(blocks.filter(({ language }) => !known.includes(language))).toEqual([]);
    expect(ofLanguage("js").length).toBeGreaterThan(10);
  });

  it.each(ofLanguage("js").map((block) => [block.place, block] as const))(
    "runs on the demo model: %s",
    async (_, block) => {
      // The oldest supported Node does not have `using`.
      expect(block.code).not.toMatch(/^\s*(await )?using /m);
      const file = path.join(project, `${block.place.replace(/\W/g, "-")}.mjs`);
      writeFileSync(file, programOf(block.code));
      const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 60_000 });
      for (const printed of promised(block.code)) expect(stdout).toContain(printed);
    },
  );

  it("in TypeScript has no error of types", () => {
    expect(typeErrors(ofLanguage("ts"))).toEqual([]);
  });

  it.each(ofLanguage("json").map((block) => [block.place, block.code]))("is JSON: %s", (_, code) => {
    expect(() => JSON.parse(code!)).not.toThrow();
  });
});

function typeErrors(samples: readonly Block[]): string[] {
  const files = samples.map(({ place, code }) => {
    const file = path.join(project, `${place.replace(/\W/g, "-")}.ts`);
    writeFileSync(file, programOf(code));
    return file;
  });
  const program = ts.createProgram(files, {
    ...{ target: ts.ScriptTarget.ES2022, lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"] },
    ...{ module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext },
    ...{
      strict: true,
      skipLibCheck: true,
      noEmit: true,
      types: ["node"],
      typeRoots: [`${project}/node_modules/@types`],
    },
    preserveSymlinks: true,
  });
  return ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
    return `${file?.fileName ?? ""}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`;
  });
}
