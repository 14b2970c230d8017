import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { packageRoot } from "../lib/binding.js";

const readme = readFileSync(path.join(packageRoot, "README.md"), "utf8");
const samples = [...readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, code]) => ({
  language: language!,
  code: code!,
}));

// A reader's project: the packages that samples import are installed in it.
const project = mkdtempSync(path.join(tmpdir(), "gpt-oss-readme-"));
mkdirSync(path.join(project, "node_modules"));
symlinkSync(packageRoot, path.join(project, "node_modules/gpt-oss-node"));
for (const name of ["openai", "fastify"]) {
  symlinkSync(path.join(packageRoot, "node_modules", name), path.join(project, "node_modules", name));
}
afterAll(() => rmSync(project, { recursive: true, force: true }));

const server = `import { createServer as create } from "gpt-oss-node/server"; import { Engine as Demo } from "gpt-oss-node";
const demo = await Demo.load("demo");
const service = await create({ engine: demo, modelName: "gpt-oss-20b" });
process.env.KEY = "none";
const address = await service.listen({ port: 0 });\n`;

/** What a sample takes from the program around it, by a word that only this sample has; and what ends it. */
const around: { word: string; before: string; after?: string; prints?: RegExp }[] = [
  { word: "const { content, reasoning", before: "", prints: /\w/ },
  {
    word: "reasoningBudget",
    before: `import { Engine } from "gpt-oss-node";
      const engine = await Engine.load("demo"), messages = [{ role: "user", content: "Hi" }];
      const tools = [{ type: "function", function: { name: "now", parameters: { type: "object", properties: {} } } }];\n`,
    after: "console.log(toolCalls[0].name, relaxed.length); await engine.close();",
    prints: /now 0/,
  },
  {
    word: "tokenizer.encodeBatch",
    before: `const longText = "a b ".repeat(9999), documents = ["a", "b"], text = "abc", target = new Uint32Array(2);
      const { signal } = new AbortController();\n`,
  },
  { word: "isMainThread", before: "", prints: /\w/ },
  {
    word: "ScriptedEngine",
    before: "",
    after: `console.log((await engine.chat([{ role: "user", content: "Oslo?" }], { tools: [{ type: "function", function: { name: "get_weather" } }] }).result).toolCalls[0].arguments);
      await engine.close(); await other.close();`,
    prints: /Oslo/,
  },
  { word: 'from "openai"', before: server, after: "await service.close(); await demo.close();", prints: /\w/ },
  {
    word: "gptOssPlugin",
    before: `import fastify from "fastify"; import { Engine as Demo } from "gpt-oss-node";
      const engine = await Demo.load("demo"), key = "secret", yourFastifyApp = fastify();\n`,
    after: `console.log((await yourFastifyApp.inject("/ai/v1/models")).statusCode);
      await app.close(); await yourFastifyApp.close(); await engine.close();`,
    prints: /200/,
  },
];

describe("the samples of the README", () => {
  it("are JavaScript that the oldest Node takes", () => {
    expect(samples.map(({ language }) => language)).toEqual(samples.map(() => "js"));
    expect(samples.length).toBeGreaterThanOrEqual(around.length);
    for (const { code } of samples) expect(code).not.toMatch(/^\s*(await )?using /m); // Node 24
  });

  it.each(samples.map(({ code }, i) => [i, code] as const))("parse: %i", (i, code) => {
    const file = path.join(project, `parse-${i}.mjs`);
    writeFileSync(file, code);
    expect(spawnSync(process.execPath, ["--check", file], { encoding: "utf8" }).stderr).toBe("");
  });

  it.each(around)("runs on the demo model: $word", async ({ word, before, after, prints }) => {
    const [sample, second] = samples.filter(({ code }) => code.includes(word));
    expect(second).toBeUndefined();
    const file = path.join(project, `${word.replace(/\W/g, "")}.mjs`);
    const code = sample!.code
      .replaceAll('"/models/gpt-oss-20b"', '"demo"')
      .replace('"http://127.0.0.1:8080/v1"', 'address + "/v1"')
      .replace("port: 8080", "port: 0");
    writeFileSync(file, `${before}${code}\n${after ?? ""}`);
    const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 60_000 });
    expect(stdout).toMatch(prints ?? /^$/);
  });
});
