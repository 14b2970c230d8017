import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it } from "vitest";
import { packageRoot } from "../lib/package-root.js";

const folder = path.join(packageRoot, "examples");
const limitMilliseconds = 30_000;

type Program = ChildProcessByStdio<Writable, Readable, Readable>;
const running = new Set<Program>();

/** Starts a program in a separate process, which ends with its test. */
function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Program {
  const program = spawn(process.execPath, args, { cwd: packageRoot, env: { ...process.env, ...env }, stdio: "pipe" });
  running.add(program);
  program.once("close", () => running.delete(program));
  return program;
}

afterEach(() => {
  for (const program of running) program.kill("SIGKILL");
});

/** Returns the program's output until it ends by itself, and checks that it ends without an error. */
async function output(args: readonly string[], input = ""): Promise<string> {
  const program = start(args);
  program.stdin.end(input);
  const [stdout, stderr, [status]] = await Promise.all([
    text(program.stdout),
    text(program.stderr),
    once(program, "close"),
  ]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

const run = (name: string, input?: string) => output([path.join("examples", name)], input);

/** Starts a service and returns the address that it prints; `stop` ends it as a supervisor does. */
async function serve(name: string): Promise<{ url: string; stop: () => Promise<void> }> {
  const program = start([path.join("examples", name)], { PORT: "0" });
  const stderr = text(program.stderr);
  const [url] = (await Promise.race([
    once(createInterface({ input: program.stdout }), "line"),
    stderr.then((said) => Promise.reject(new Error(`${name} ended before it listened: ${said}`))),
  ])) as [string];
  const stop = async () => {
    program.kill("SIGTERM");
    const [status] = await once(program, "close");
    expect({ status, stderr: await stderr }).toEqual({ status: 0, stderr: "" });
  };
  return { url, stop };
}

describe("examples", () => {
  it("are those that their README lists, and begin with three lines on what they show", () => {
    const programs = readdirSync(folder).filter((name) => /\.[cm]js$/.test(name));
    const listed = [...readFileSync(path.join(folder, "README.md"), "utf8").matchAll(/^\| \[(.*?)\]\((.*?)\)/gm)];
    expect(listed.map(([, , link]) => link)).toEqual(listed.map(([, name]) => name));
    expect(listed.map(([, name]) => name).sort()).toEqual(programs.sort());
    for (const name of programs) {
      expect(readFileSync(path.join(folder, name), "utf8")).toMatch(/^\/\/ .*\n\/\/ .*\n\/\/ (Run|Use): .*\n[^/]/);
    }
  });
});

describe("an example that ends by itself", { timeout: limitMilliseconds }, () => {
  it("chat.mjs answers in the light of what was said before", async () => {
    const said = await run("chat.mjs", "What is the capital of Greece?\nAnd of Brazil?\n");
    expect(said).toMatch(/^The capital of Greece is Athens\.\n\(\d+ tokens read, 0 of them from the cache\)\n/);
    expect(said).toMatch(
      /\nThe capital of Brazil is Brasília\.\n\(\d+ tokens read, [1-9]\d* of them from the cache\)\n$/,
    );
  });

  it("tools.mjs calls a function, and answers with its result", async () => {
    expect(await run("tools.mjs")).toBe(
      'call: get_current_weather({"location":"Oslo"})\nIt is -3 °C and sunny in Oslo.\n',
    );
  });

  it("structured-output.mjs gives a value of the schema, and the reason of a refusal", async () => {
    const [value, refusal] = (await run("structured-output.mjs")).split("\n");
    expect(value).toMatch(/^\{ capital: '(Athens|Bern|Oslo|Tokyo)', size: '(small|large)' \}$/);
    expect(refusal).toMatch(/^INVALID_ARGUMENT: .*"contains" is not supported$/);
  });

  it("workers.mjs answers in four threads", async () => {
    expect(await run("workers.mjs")).toBe("3 + 4 = 7\n5 + 6 = 11\n7 + 8 = 15\n9 + 1 = 10\n");
  });

  it("commonjs.cjs loads the package from CommonJS", async () => {
    expect(await run("commonjs.cjs")).toBe("7 + 8 = 15\n");
  });

  it("next-route.mjs answers a Request with a stream, and refuses what is no conversation", async () => {
    const driver = `import { POST } from "./examples/next-route.mjs";
      const ask = (body, signal) => POST(new Request("http://localhost/api/chat", { method: "POST", body, signal }));
      const question = JSON.stringify({ messages: [{ role: "user", content: "What is the capital of Japan?" }] });
      const answer = await ask(question);
      console.log(answer.status, answer.headers.get("content-type"), await answer.text());
      const refused = await ask('{"messages": 1}');
      console.log(refused.status, (await refused.json()).code, (await ask("no JSON")).status);
      const left = new AbortController();
      const cut = await ask(question, left.signal);
      left.abort(new Error("left"));
      console.log(await cut.text().catch((error) => error.message));
      await (await globalThis.engine).close();`;
    expect(await output(["--input-type=module", "-e", driver])).toBe(
      "200 text/plain; charset=utf-8 The capital of Japan is Tokyo.\n400 INVALID_ARGUMENT 400\nleft\n",
    );
  });
});

describe("an example that serves", { timeout: limitMilliseconds }, () => {
  it("streaming-http.mjs sends events as they come, and refuses a request without a question", async () => {
    const { url, stop } = await serve("streaming-http.mjs");
    const answer = await fetch(`${url}/?question=What+is+the+capital+of+Japan%3F`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    const events = (await answer.text())
      .trimEnd()
      .split("\n\n")
      .map((block) => JSON.parse(block.replace(/^data: /, "")) as { type: string; text?: string });
    const deltas = events.filter(({ type }) => type === "delta");
    expect(deltas.length).toBeGreaterThan(1);
    expect(deltas.map((event) => event.text).join("")).toBe("The capital of Japan is Tokyo.");
    expect(events.at(-1)).toMatchObject({ type: "done", finishReason: "stop" });

    const refused = await fetch(url);
    expect(refused.status).toBe(400);
    expect(await refused.json()).toEqual({ code: "INVALID_ARGUMENT", message: "Expected a question in the query" });
    await stop();
  });

  it("express.mjs answers with JSON, and with 400 where the question is missing", async () => {
    const { url, stop } = await serve("express.mjs");
    const ask = (body: URLSearchParams) => fetch(`${url}/ask`, { method: "POST", body });
    const answer = await ask(new URLSearchParams({ question: "What is 7 + 8?" }));
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ content: "7 + 8 = 15", reasoning: "7 plus 8 is 15." });
    const refused = await ask(new URLSearchParams());
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ code: "INVALID_ARGUMENT" });
    await stop();
  });

  it("fastify-plugin.mjs has OpenAI's API under its prefix, beside its own route", async () => {
    const { url, stop } = await serve("fastify-plugin.mjs");
    expect(await (await fetch(url)).json()).toMatchObject({ info: { vocab: 201088 } }); // once the engine has loaded
    const body = JSON.stringify({ model: "my-model", messages: [{ role: "user", content: "7 + 8" }], temperature: 0 });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${url}/ai/v1/chat/completions`, { method: "POST", headers, body });
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ choices: [{ message: { content: "7 + 8 = 15" } }] });
    await stop();
  });
});
