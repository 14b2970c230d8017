// node test/commands/suite-server.mjs [--port N] [--cases FILE]: the server with a scripted model, for the suites of others
// that docs/testing.md names. It calls a tool where one is offered, with the arguments that FILE (`cases.jsonl` of
// openai/gpt-oss) expects for the question, and answers with a text otherwise. It needs `npm run build`.
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const { call, reply, ScriptedEngine, think } = await import(path.join(root, "dist/testing/index.js"));
const { createServer } = await import(path.join(root, "dist/server/index.js"));

const { values } = parseArgs({ options: { port: { type: "string", default: "8000" }, cases: { type: "string" } } });
const lines = values.cases === undefined ? [] : readFileSync(values.cases, "utf8").split("\n").filter(Boolean);
/** The longest question comes first: another may be its beginning. */
const cases = lines.map((line) => JSON.parse(line)).sort((a, b) => b.input.length - a.input.length);

const weather = { tool_name: "get_weather", expected_arguments: '{"location":"San Francisco, CA"}' };
const answer = [think("I answer."), reply("One, two, three.")];

function script({ text }) {
  const turn = text.split("<|start|>user<|message|>").at(-1);
  if (!text.includes("namespace functions {") || turn.includes("<|start|>functions.")) return answer;
  const { tool_name: name, expected_arguments: expected } =
    cases.find(({ input }) => turn.startsWith(input)) ?? weather;
  return [think("I need the tool."), call(name, JSON.parse(expected))];
}

const app = await createServer({ engine: new ScriptedEngine(script), modelName: "gpt-oss-20b", logger: false });
process.stdout.write(`${await app.listen({ host: "127.0.0.1", port: Number(values.port) })}/v1\n`);
