import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { pages } from "../support/markdown.js";
import { runs, type Start } from "./clients.js";

/** docs/clients.md gives the settings with which the clients are run. */

const { text, blocks } = pages.find(({ name }) => name === "docs/clients.md")!;
const folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-client-docs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The block of a language that has this text in it. */
const blockWith = (language: string, part: string) =>
  blocks.find((block) => block.language === language && block.code.includes(part))!.code;

/** What a run does before it starts, and the folder with its settings. */
function started(name: string): { home: string; start: Start } {
  const home = path.join(folder, name);
  mkdirSync(home);
  const place = { packages: folder, repository: folder, desk: folder, baseUrl: "http://127.0.0.1:8080/v1", home };
  return { home, start: runs.find((run) => run.name === name)!.start(place) };
}

it("has Codex's settings", () => {
  const { home } = started("codex, with a catalog, MCP");
  const catalog = path.join(home, ".codex/models.json");
  const config = readFileSync(path.join(home, ".codex/config.toml"), "utf8").replace(
    catalog,
    "/home/you/.codex/models.json",
  );
  const sections = blockWith("toml", "model_providers").trim().split("\n\n");
  expect(sections.filter((section) => !config.includes(section))).toEqual([]);
  expect(JSON.parse(blockWith("json", "slug"))).toEqual(JSON.parse(readFileSync(catalog, "utf8")));
});

it("has Copilot's variables", () => {
  const { env } = started("copilot, responses").start;
  const exports = Object.entries(env).map(([name, value]) => `export ${name}=${value}\n`);
  expect(blockWith("sh", "COPILOT")).toBe(`${exports.join("")}copilot\n`);
});

it("has opencode's settings", () => {
  const { home } = started("opencode, responses");
  const config = readFileSync(path.join(home, ".config/opencode/opencode.json"), "utf8");
  expect(JSON.parse(blockWith("json", "@ai-sdk/openai"))).toEqual(JSON.parse(config));
});

it("has Cline's command", () => {
  const [auth] = started("cline, responses").start.commands;
  expect(blockWith("sh", "cline auth")).toContain(`${auth!.join(" ")}\n`);
});

it("has the versions that are tried", () => {
  const file = path.join(import.meta.dirname, "packages/package.json");
  const { dependencies } = JSON.parse(readFileSync(file, "utf8")) as { dependencies: Record<string, string> };
  const agents = Object.entries(dependencies).filter(([name]) => name !== "@modelcontextprotocol/sdk");
  expect(agents.filter(([, version]) => !text.includes(`| ${version} |`))).toEqual([]);
  const apis = new Set(runs.map(({ client, api }) => `${client}: ${api}`));
  expect(apis.size).toBe(7);
});
