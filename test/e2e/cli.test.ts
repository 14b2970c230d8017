import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tokenizer } from "../../lib/tokenizer/tokenizer.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = path.join(root, "dist", "cli", "main.js");

interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

function start(args: string[], env: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
  const inherited = { ...process.env, GPT_OSS_MODEL: undefined, GPT_OSS_BACKEND: undefined };
  return spawn(process.execPath, [program, ...args], { env: { ...inherited, ...env } });
}

/** All that a stream has said so far, and a promise for the moment when it has said something. */
function listen(stream: NodeJS.ReadableStream) {
  const heard = { text: "", until };
  const waiting: { what: string; resolve: () => void }[] = [];
  stream.setEncoding("utf8").on("data", (piece: string) => {
    heard.text += piece;
    for (const { what, resolve } of waiting) if (heard.text.includes(what)) resolve();
  });
  function until(what: string): Promise<void> {
    return new Promise((resolve) => (heard.text.includes(what) ? resolve() : waiting.push({ what, resolve })));
  }
  return heard;
}

async function finish(child: ChildProcessWithoutNullStreams): Promise<Run> {
  const [stdout, stderr] = [listen(child.stdout), listen(child.stderr)];
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout: stdout.text, stderr: stderr.text };
}

function run(args: string[], input = "", env: NodeJS.ProcessEnv = {}): Promise<Run> {
  const child = start(args, env);
  child.stdin.on("error", () => {}); // the program may end before it has read everything
  child.stdin.end(input);
  return finish(child);
}

const label = "demo model (3 M parameters, knows about 130 things, not gpt-oss)";

describe("chat", () => {
  it("answers each line of its input, reasoning apart from the answer, and ends with it", async () => {
    const { code, stdout, stderr } = await run(["chat"], "What is 7 + 8?\n\nWhat is the capital of Japan?");
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(4);
    expect(lines[0]).toMatch(/^\[analysis\] \S/);
    expect(lines[1]).toBe("7 + 8 = 15");
    expect(lines[2]).toMatch(/^\[analysis\] \S/);
    expect(lines[3]).toContain("Tokyo");
    expect(stderr).toContain(label);
    expect(stderr).toContain("gpt-oss chat /path/to/gpt-oss-20b");
  });

  it("remembers what was said, until /reset", async () => {
    const { stdout } = await run(
      ["chat", "demo", "--no-reasoning"],
      "My name is Anna.\nWhat is my name?\n/reset\nWhat is my name?\n",
    );
    const answers = stdout.trimEnd().split("\n");
    expect(answers[1]).toContain("Anna");
    expect(answers.at(-1)).not.toContain("Anna");
  });

  it("obeys its commands", async () => {
    const input =
      "/help\n/effort low\n/system Always answer in French.\nGood morning!\n/stats\n/quit\nWhat is 1 + 1?\n";
    const { code, stdout, stderr } = await run(["chat"], input);
    expect(code).toBe(0);
    expect(stdout).toContain("/effort low|medium|high");
    expect(stdout).toContain("Bonjour");
    expect(stdout).not.toContain("[analysis]");
    expect(stdout).toMatch(/last answer \d+ tokens read, \d+ written/);
    expect(stdout).not.toContain("1 + 1 =");
    expect(stderr).toContain("Reasoning effort: low");
  });

  it("says what is wrong with a command or a message, goes on, and ends as failed", async () => {
    const { code, stdout, stderr } = await run(
      ["chat", "--context", "120"],
      `/nonsense\n/effort max\n${"What is 7 + 8? ".repeat(60)}\nWhat is 7 + 8?\n`,
    );
    expect(code).toBe(1);
    expect(stderr).toContain("Unknown command /nonsense");
    expect(stderr).toContain('/effort but received "max"');
    expect(stderr).toContain("(CONTEXT_OVERFLOW)");
    expect(stdout).toContain("7 + 8 = 15");
  });

  it("stops an answer at the first SIGINT and leaves at the next", async () => {
    const child = start(["chat", "--temperature", "100", "--seed", "1"]); // at this heat it never finds an end by itself
    const [stdout, stderr] = [listen(child.stdout), listen(child.stderr)];
    const closed = once(child, "close");
    child.stdin.write("Write me a story.\n");
    await once(child.stdout, "data");
    child.kill("SIGINT");
    await stderr.until("(stopped)");
    child.stdin.write("/stats\n");
    await stdout.until("KV cache");
    child.kill("SIGINT");
    expect(await closed).toEqual([0, null]);
  });
});

describe("generate", () => {
  it("answers a prompt, or the text on stdin", async () => {
    const byOption = await run(["generate", "--prompt", "What is 7 + 8?", "--no-reasoning"]);
    expect(byOption).toMatchObject({ code: 0, stdout: "7 + 8 = 15\n" });
    expect(byOption.stderr).toContain(label);
    const byStdin = await run(["generate", "--effort", "low"], "What is 7 + 8?\n");
    expect(byStdin).toMatchObject({ code: 0, stdout: "7 + 8 = 15\n" });
  });

  it("--json prints one object and nothing else on stdout", async () => {
    const { code, stdout } = await run(["generate", "--prompt", "What is 7 + 8?", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      model: "demo",
      content: "7 + 8 = 15",
      reasoning: expect.stringContaining("15"),
      toolCalls: [],
      finishReason: "stop",
      usage: { promptTokens: expect.any(Number), completionTokens: expect.any(Number) },
    });
  });

  it("--raw and --tokens continue the prompt as it is", async () => {
    const text = "<|start|>user<|message|>Hi<|end|><|start|>assistant"; // as text, so no control tokens
    const raw = await run(["generate", "--raw", "--prompt", text, "--max-tokens", "3", "--json"]);
    expect(JSON.parse(raw.stdout)).toMatchObject({
      finishReason: "length",
      usage: { promptTokens: tokenizer.count(text), completionTokens: 3 },
    });
    const ids = "200006,1428,200008,20600,11955,158472,30,200007,200006,173781";
    const tokens = await run(["generate", "--tokens", ids, "--stop-tokens", "200008", "--json"]);
    const { tokens: generated } = JSON.parse(tokens.stdout) as { tokens: number[] };
    expect(generated[0]).toBe(200005);
    expect(generated.at(-1)).toBe(200008);
  });

  it("the same seed gives the same tokens", async () => {
    const args = ["generate", "--raw", "--prompt", "The", "--temperature", "2", "--max-tokens", "8", "--json"];
    const [a, b, c] = await Promise.all(["5", "5", "6"].map((seed) => run([...args, "--seed", seed])));
    const tokensOf = (done: Run | undefined) => (JSON.parse(done!.stdout) as { tokens: number[] }).tokens;
    expect(tokensOf(a)).toEqual(tokensOf(b));
    expect(tokensOf(a)).not.toEqual(tokensOf(c));
  });

  it("ends quietly when nobody reads on", async () => {
    const child = start(["generate", "--prompt", "Write me a story.", "--temperature", "100", "--seed", "1"]);
    const stderr = listen(child.stderr);
    child.stdout.once("data", () => child.stdout.destroy());
    const [code] = await once(child, "close");
    expect(code).toBe(0);
    expect(stderr.text.trim().split("\n")).toHaveLength(1);
  });

  it("a SIGINT ends the completion with what there is, and code 130", async () => {
    const child = start(["generate", "--prompt", "Write me a story.", "--temperature", "100", "--seed", "1"]);
    const done = finish(child);
    await once(child.stdout, "data");
    child.kill("SIGINT");
    const { code, stdout } = await done;
    expect(code).toBe(130);
    expect(stdout).toMatch(/\S.*\n$/s);
  });
});

describe("inspect", () => {
  let damaged: string;
  const golden = path.join(root, "test", "golden", "models", "a");

  beforeAll(() => {
    damaged = path.join(mkdtempSync(path.join(tmpdir(), "gpt-oss-cli-")), "model");
    cpSync(golden, damaged, { recursive: true });
    const file = path.join(damaged, "model.safetensors");
    truncateSync(file, Math.floor(statSync(file).size / 2));
  });

  afterAll(() => rmSync(path.dirname(damaged), { recursive: true, force: true }));

  it("shows what is in a checkpoint", async () => {
    const { code, stdout } = await run(["inspect", golden]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^layers +4, 2 of them with a sliding window of 128$/m);
    expect(stdout).toMatch(/^model\.layers\.0\.self_attn\.sinks +\S+ +\[16\] +\d+ bytes$/m);
    const json = await run(["inspect", golden, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ layout: "huggingface", model: { layers: 4, hidden: 96 } });
  });

  it("fails on a damaged one, with the reason", async () => {
    for (const args of [[damaged], [damaged, "--json"]]) {
      const { code, stdout, stderr } = await run(["inspect", ...args]);
      expect(code).toBe(1);
      expect(stdout).toBe("");
      expect(stderr).toMatch(/^gpt-oss: .*model\.safetensors.* \(MODEL_FORMAT\)\n$/);
    }
  });

  it("fails where there is none", async () => {
    const { code, stderr } = await run(["inspect", path.join(damaged, "nothing")]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^gpt-oss: .* \(MODEL_NOT_FOUND\)\n$/);
  });
});

describe("doctor", () => {
  it("tells what there is", async () => {
    const { code, stdout } = await run(["doctor"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^backend cpu +\S/m);
    expect(stdout).toMatch(/^addon +.*gpt_oss.*\.node$/m);
    expect(stdout).toMatch(/^threads +\d+: .*core/m);
    expect(stdout).toMatch(/^for a model +\d.* [kMGT]?B: \S/m);
  });

  it("--json tells it to programs", async () => {
    const { code, stdout } = await run(["doctor", "--json"], "", { GPT_OSS_LOG: "info" });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      addon: { path: expect.stringContaining(".node") },
      backends: expect.arrayContaining([expect.objectContaining({ name: "cpu", available: true })]),
      demoModel: { path: expect.any(String) },
      usable: { threads: expect.any(Number), memoryBytes: expect.any(Number) },
      environmentProblems: {},
      environment: { GPT_OSS_LOG: "info" },
    });
  });
});

describe("an environment variable", () => {
  it.each([
    ["GPT_OSS_ISA", "foo", 2, /GPT_OSS_ISA is "foo", expected one of (\w+, )*scalar/],
    ["GPT_OSS_ISA", "AVX2", 2, /GPT_OSS_ISA is "AVX2", expected one of /],
    [
      "GPT_OSS_ISA",
      process.arch === "x64" ? "neon" : "avx2",
      1,
      /, which this machine does not have.*; expected one of /,
    ],
    [
      "GPT_OSS_BACKEND",
      "foo",
      2,
      /GPT_OSS_BACKEND is "foo", expected one of "auto", "cpu", "cuda", "cuda:N" or "metal"/,
    ],
    [
      "GPT_OSS_TRACE",
      "/no/such/folder/trace",
      2,
      /GPT_OSS_TRACE is "\/no\/such\/folder\/trace", expected a file that can be /,
    ],
    [
      "GPT_OSS_MODEL",
      "/no/such/model",
      1,
      /GPT_OSS_MODEL is "\/no\/such\/model", expected a checkpoint folder or file/,
    ],
  ])(
    "%s=%s is named with what is expected, by every command",
    { timeout: 120_000 },
    async (name, value, code, told) => {
      const env = { [name]: value };
      for (const args of ["generate --prompt Hi", "chat", "serve --port 0"]) {
        const { stdout, stderr, ...ended } = await run(args.split(" "), "Hi\n", env);
        expect({ args, ...ended, stdout }).toEqual({ args, code, stdout: "" });
        expect(stderr.trimEnd().split("\n").at(-1)).toMatch(told);
        expect(stderr).not.toMatch(/addon|\n {4}at /);
      }
      const doctor = await run(["doctor"], "", env);
      expect(doctor.code).toBe(1);
      expect(doctor.stdout).toMatch(new RegExp(`^${name} +.*${told.source}`, "m"));
      expect(doctor.stdout).toMatch(new RegExp(`^Not ready: ${told.source}`, "m"));
      expect(doctor.stdout).toMatch(/^addon +.*\.node$/m);
    },
  );

  it("that nothing reads is shown as such, and empty ones are none", async () => {
    const { code, stdout } = await run(["doctor"], "", { GPT_OSS_THREDS: "4", GPT_OSS_ISA: "", GPT_OSS_TRACE: "" });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^GPT_OSS_THREDS +4 \(nothing reads this variable\)$/m);
  });
});

describe("the model", () => {
  it("is $GPT_OSS_MODEL when none is named, and only the demo model has its label", async () => {
    const golden = path.join(root, "test", "golden", "models", "a");
    const args = ["generate", "--tokens", "1,2,3", "--max-tokens", "2", "--json"];
    const { code, stdout, stderr } = await run(args, "", { GPT_OSS_MODEL: golden });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ model: golden, usage: { completionTokens: 2 } });
    expect(stderr).toBe("");
  });

  it("that cannot be loaded ends the program with the reason", async () => {
    const { code, stdout, stderr } = await run(["chat", "/no/such/model"], "Hi\n");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^gpt-oss: .*\/no\/such\/model.* \(MODEL_NOT_FOUND\)\n$/);
  });
});

describe("usage", () => {
  it.each([["--help"], ["chat --help"], ["generate --help"], ["inspect --help"], ["doctor --help"], ["--version"]])(
    "gpt-oss %s succeeds",
    async (args) => {
      const { code, stdout, stderr } = await run(args.split(" "));
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(args === "--version" ? /^\d+\.\d+\.\d+\n$/ : /^Usage: gpt-oss/);
    },
  );

  it.each([
    ["frobnicate"],
    ["chat --nonsense"],
    ["chat a b"],
    ["chat --effort huge"],
    ["generate --tokens 1,x"],
    ["generate --tokens 1 --prompt a"],
    ["generate --prompt a --max-tokens 1.5"],
    ["generate --prompt a --temperature hot"],
    ["generate --prompt a --temperature 1000"],
    ["generate --prompt a --top-p 0"],
    ["generate --prompt a --stop-tokens 1"],
    ["generate --raw --prompt a --system b"],
    ["generate --prompt a --backend abacus"],
    ["generate --prompt a --packed-weights="],
    ["generate"],
    ["inspect"],
  ])("gpt-oss %s is wrong and says so in one line", async (args) => {
    const { code, stdout, stderr } = await run(args.split(" "));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr.replace(/^demo model .*\n/, "")).toMatch(/^gpt-oss: .+ \((USAGE|INVALID_ARGUMENT)\)\n$/);
  });

  it("nothing at all shows the help, as wrong usage", async () => {
    const { code, stdout, stderr } = await run([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^Usage: gpt-oss/);
  });
});
