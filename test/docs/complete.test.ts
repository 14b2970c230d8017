import { readFileSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { engineUnits } from "../../lib/bench/engine/bench-engine.js";
import { serveValues } from "../../lib/bench/serve/metrics.js";
import { startupUnits } from "../../lib/bench/startup/bench-startup.js";
import { allCommands } from "../../lib/cli/commands/all.js";
import { benchEngineCommand } from "../../lib/cli/commands/bench-engine.js";
import { benchServeCommand } from "../../lib/cli/commands/bench-serve.js";
import { addEngineOptions } from "../../lib/cli/options/engine.js";
import { errorCodes } from "../../lib/errors.js";
import { packageRoot } from "../../lib/package-root.js";
import { pages } from "../support/markdown.js";

/** The docs name every existing option, error code, environment variable and metric. */

const read = (file: string) => readFileSync(path.join(packageRoot, file), "utf8");
const page = (name: string) => pages.find((one) => one.name === name)!;

/** The names that do not stand between backticks on this page, alone or at the beginning. */
function unnamed(pageName: string, names: readonly string[]): string[] {
  const words = new Set(page(pageName).spans.flatMap((span) => [span, ...span.split(/[\s,:=()"[\]{}|]+/)]));
  return names.filter((name) => !words.has(name));
}

/** The members of an interface of lib/. */
function membersOf(file: string, name: string): string[] {
  const source = ts.createSourceFile(file, read(file), ts.ScriptTarget.Latest);
  const found = source.statements.find((node) => ts.isInterfaceDeclaration(node) && node.name.text === name);
  const members = (found as ts.InterfaceDeclaration).members.map((member) => member.name?.getText(source) ?? "");
  expect(members.length).toBeGreaterThan(1);
  return members;
}

describe("docs/library.md", () => {
  it.each([
    ["lib/generation/options.ts", "EngineOptions"],
    ["lib/generation/generate-options.ts", "GenerateOptions"],
    ["lib/generation/sampling.ts", "SamplingOptions"],
    ["lib/chat/options.ts", "ChatAnswerOptions"],
    ["lib/chat/messages.ts", "ChatConversationOptions"],
    ["lib/tokenizer/tokenizer.ts", "Tokenizer"],
  ])("names the members of %s %s", (file, name) => {
    expect(unnamed("docs/library.md", membersOf(file, name))).toEqual([]);
  });

  it("names every error code", () => {
    expect(unnamed("docs/library.md", errorCodes)).toEqual([]);
  });
});

describe("docs/server.md", () => {
  it("names every option of gpt-oss serve that is not the engine's", () => {
    const serve = allCommands().find((command) => command.name() === "serve")!;
    const engine = addEngineOptions(new Command(), "1").options.map(({ long }) => long);
    const options = serve.options.flatMap(({ long }) => (engine.includes(long) ? [] : [long!]));
    expect(options.length).toBeGreaterThan(10);
    expect(unnamed("docs/server.md", options)).toEqual([]);
  });

  it("names every option of createServer", () => {
    const options = ["PluginOptions", "ServerOptions"].flatMap((name) => membersOf("lib/server/options.ts", name));
    expect(unnamed("docs/server.md", options)).toEqual([]);
  });
});

describe("docs/operations", () => {
  it("names every environment variable that is read", () => {
    const known = [...read("lib/environment.ts").matchAll(/^ {2}(GPT_OSS_[A-Z_]+):/gm)].map(([, name]) => name!);
    expect(known.length).toBeGreaterThan(3);
    expect(unnamed("docs/operations/environment.md", known)).toEqual([]);
  });

  it("names every metric", () => {
    const files = ["engine-metrics", "request-metrics", "metrics"].map((name) =>
      read(`lib/server/operations/${name}.ts`),
    );
    const literal = files.join("\n").matchAll(/"((?:vllm:|gpt_oss:|http_)\w+)"/g);
    const listed = files[1]!.matchAll(/^ {2}\["(\w+)"/gm); // the metrics of requests, without their prefix
    const names = [...literal].map(([, name]) => name!).concat([...listed].map(([, name]) => `vllm:${name}`));
    expect(names.length).toBeGreaterThan(20);
    expect(unnamed("docs/operations/metrics.md", names)).toEqual([]);
  });
});

describe("docs/benchmarks.md", () => {
  it("names every option of gpt-oss bench serve", () => {
    const options = benchServeCommand().options.map(({ long }) => long!);
    expect(options.length).toBeGreaterThan(10);
    expect(unnamed("docs/benchmarks.md", options)).toEqual([]);
  });

  it("names every option of gpt-oss bench engine that is not the engine's", () => {
    const engine = addEngineOptions(new Command(), "1").options.map(({ long }) => long);
    const options = benchEngineCommand().options.flatMap(({ long }) => (engine.includes(long) ? [] : [long!]));
    expect(options.length).toBeGreaterThan(5);
    expect(unnamed("docs/benchmarks.md", options)).toEqual([]);
  });

  it("names every value of the rows of gpt-oss bench engine and startup", () => {
    const names = [...Object.values(engineUnits), startupUnits].flatMap((units) => Object.keys(units));
    expect(names.length).toBeGreaterThan(10);
    expect(unnamed("docs/benchmarks.md", names)).toEqual([]);
  });

  it("names every value of a row of gpt-oss bench serve", () => {
    const request = { start: 0, pieces: [1, 2], end: 2, inputTokens: 1, outputTokens: 2, isCountedByServer: true };
    const level = { completed: [request], failures: [], milliseconds: 2, clientBusy: 0 };
    const names = Object.keys(serveValues(level, {}));
    expect(names.length).toBeGreaterThan(20);
    expect(unnamed("docs/benchmarks.md", names)).toEqual([]);
  });
});

describe("docs/cli.md", () => {
  it("names every option of every command", () => {
    const options = allCommands()
      .filter((command) => command.name() !== "serve")
      .flatMap((command) => command.options.map(({ long }) => long!));
    expect(unnamed("docs/cli.md", options)).toEqual([]);
  });
});
