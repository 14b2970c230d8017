import { once } from "node:events";
import { cpSync, mkdtempSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { demoLabel, goldenModel, listen, run, start } from "../support/cli.js";
import { ModelHome } from "../support/model-home.js";

describe("chat", () => {
  it("answers each line of its input, with its reasoning on stderr, and ends with it", async () => {
    const { code, stdout, stderr } = await run(["chat"], "What is 7 + 8?\n\nWhat is the capital of Japan?");
    expect(code).toBe(0);
    expect(stdout).toBe("7 + 8 = 15\nThe capital of Japan is Tokyo.\n");
    const [label, ...reasoning] = stderr.trimEnd().split("\n");
    expect(label).toBe(`${demoLabel}. For a real one: gpt-oss chat openai/gpt-oss-20b`);
    expect(reasoning).toHaveLength(2);
    for (const line of reasoning) expect(line).toMatch(/^\[analysis\] \S/);
  });

  it("takes the lines from quotes to quotes as one message, the last of them without their end, too", async () => {
    const input = '"""\nWhat is the capital\n of Japan?\n"""\n"""/quit"""\n"""What is\n 7 + 8?';
    const { code, stdout } = await run(["chat", "--no-reasoning"], input);
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[0]).toContain("Tokyo");
    expect(lines[2]).toBe("7 + 8 = 15");
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
      "/help\n/effort\n/effort low\n/system Always answer in French.\n/system\nGood morning!\n/system none\n/system\n" +
      "/stats\n/quit\nWhat is 1 + 1?\n";
    const { code, stdout, stderr } = await run(["chat"], input);
    expect(code).toBe(0);
    expect(stdout).toContain("/effort low|medium|high");
    expect(stdout).toContain("Bonjour");
    expect(stderr).not.toContain("[analysis]");
    expect(stdout).toMatch(/last answer \d+ tokens read, \d+ written/);
    expect(stdout).not.toContain("1 + 1 =");
    expect(stderr.trimEnd().split("\n").slice(1)).toEqual([
      "Reasoning effort: medium",
      "Reasoning effort: low",
      "Instructions: Always answer in French.",
      "Instructions: Always answer in French.",
      "No instructions.",
      "No instructions.",
    ]);
  });

  it("says what is wrong with a command or a message, goes on, and ends as failed", async () => {
    const { code, stdout, stderr } = await run(
      ["chat", "--context", "120"],
      `/nonsense\n/efort\n/effort max\n${"What is 7 + 8? ".repeat(60)}\nWhat is 7 + 8?\n`,
    );
    expect(code).toBe(1);
    expect(stderr).toContain("Unknown command /nonsense; /help lists all");
    expect(stderr).toContain("Unknown command /efort; did you mean /effort?");
    expect(stderr).toContain('/effort but received "max"');
    expect(stderr).toContain("(CONTEXT_OVERFLOW)");
    expect(stdout).toContain("7 + 8 = 15");
  });

  const questions = `${Array.from({ length: 6 }, (_, i) => `What is ${i} + 8?`).join("\n")}\n`;

  it("says what to do when the context is full, and drops the oldest turns when it may", async () => {
    const full = await run(["chat", "--context", "150", "--effort", "low"], questions);
    expect(full.code).toBe(1);
    expect(full.stderr).toMatch(
      /^gpt-oss: .*\/reset starts a new conversation, and --drop-oldest drops .* \(CONTEXT_OVERFLOW\)$/m,
    );
    const dropping = await run(["chat", "--context", "150", "--effort", "low", "--drop-oldest"], questions);
    expect(dropping.code).toBe(0);
    expect(dropping.stderr).toMatch(/^\(dropped the oldest( \d of \d)? turns?\)$/m);
    expect(dropping.stdout.trimEnd().split("\n")).toHaveLength(6);
  });

  it("tells how fast it was, when asked to", async () => {
    const { stdout, stderr } = await run(["chat", "--speed"], "What is 7 + 8?\n");
    expect(stdout).toBe("7 + 8 = 15\n");
    expect(stderr).toMatch(/^\(prompt: \d+ tokens in .* tokens\/s; answer: \d+ tokens in .* tokens\/s\)$/m);
  });

  it("takes the engine's options", async () => {
    const options = ["--kv-dtype", "bf16", "--kv-bytes", "8MiB", "--numerics", "exact", "--no-prefix-cache"];
    const limits = ["--context", "512", "--max-sequences", "2", "--max-queue", "3", "--max-batch-tokens", "64"];
    const { code, stdout } = await run(["chat", ...options, ...limits], "What is 7 + 8?\n");
    expect({ code, stdout }).toEqual({ code: 0, stdout: "7 + 8 = 15\n" });
  });

  it("stops an answer at the first SIGINT and leaves at the next", async () => {
    const child = start(["chat", "--temperature", "100", "--seed", "1"]); // at this temperature it never ends by itself
    const [stdout, stderr] = [listen(child.stdout), listen(child.stderr)];
    const closed = once(child, "close");
    child.stdin.write("Write me a story.\n");
    await Promise.race([once(child.stdout, "data"), stderr.until("[analysis]")]); // reasoning or answering
    child.kill("SIGINT");
    await stderr.until("(stopped)");
    child.stdin.write("/stats\n");
    await stdout.until("KV cache");
    child.kill("SIGINT");
    expect(await closed).toEqual([0, null]);
  });
});

describe("inspect", () => {
  let damaged: string;
  beforeAll(() => {
    damaged = path.join(mkdtempSync(path.join(tmpdir(), "gpt-oss-cli-")), "model");
    cpSync(goldenModel, damaged, { recursive: true });
    const file = path.join(damaged, "model.safetensors");
    truncateSync(file, Math.floor(statSync(file).size / 2));
  });

  afterAll(() => rmSync(path.dirname(damaged), { recursive: true, force: true }));

  it("shows what is in a checkpoint", async () => {
    const { code, stdout } = await run(["inspect", goldenModel]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^layers +4, 2 of them with a sliding window of 128$/m);
    expect(stdout).toMatch(/^model\.layers\.0\.self_attn\.sinks +\S+ +\[16\] +\d+ bytes$/m);
    const json = await run(["inspect", goldenModel, "--json"]);
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

  it("tells of the demo model what was trained", async () => {
    const { code, stdout, stderr } = await run(["inspect", "demo"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: `${demoLabel}\n` });
    expect(stdout).toMatch(
      /^parameters +53\.7 million; 3\.06 million of them trained, the rows of 197921 tokens are zero$/m,
    );
    const json = JSON.parse((await run(["inspect", "demo", "--json"])).stdout) as { model: { parameters: number } };
    expect(json).toMatchObject({ trainedParameters: 3_060_160, model: { parameters: 53_727_936 } });
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
      /GPT_OSS_ISA is "(neon|avx2)", which this machine does not have.*; expected one of /,
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
      /GPT_OSS_MODEL is "\/no\/such\/model", expected a checkpoint folder or a file of weights/,
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

  it("that holds a secret is not shown", async () => {
    const secret = "0123456789abcdef".repeat(2);
    for (const args of [["doctor"], ["doctor", "--json"]]) {
      const right = await run(args, "", { GPT_OSS_REASONING_KEY: secret });
      expect([right.code, right.stdout]).toEqual([0, expect.stringMatching(/GPT_OSS_REASONING_KEY.*\(secret\)/)]);
      const wrong = await run(args, "", { GPT_OSS_REASONING_KEY: "too short" });
      expect([wrong.code, wrong.stdout]).toEqual([
        1,
        expect.stringMatching(/32 to 4096 characters in each line, at most 8 lines, in GPT_OSS_REASONING_KEY/),
      ]);
      for (const { stdout } of [right, wrong]) expect(stdout).not.toMatch(/0123|too short/);
    }
    const { code, stderr } = await run(["serve", "--port", "0"], "", { GPT_OSS_REASONING_KEY: "too short" });
    expect([code, stderr]).toEqual([2, expect.stringContaining("in GPT_OSS_REASONING_KEY")]);
  });

  it("that nothing reads is shown as such, and empty ones are none", async () => {
    const { code, stdout } = await run(["doctor"], "", { GPT_OSS_THREDS: "4", GPT_OSS_ISA: "", GPT_OSS_TRACE: "" });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^GPT_OSS_THREDS +4 \(nothing reads this variable\)$/m);
  });
});

describe("the model", () => {
  it("is $GPT_OSS_MODEL when none is named, and only the demo model has its label", async () => {
    const args = ["generate", "--tokens", "1,2,3", "--max-tokens", "2", "--json"];
    const { code, stdout, stderr } = await run(args, "", { GPT_OSS_MODEL: goldenModel });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ model: goldenModel, usage: { completionTokens: 2 } });
    expect(stderr).toBe("");
  });

  it("that cannot be loaded ends the program with the reason", async () => {
    const { code, stdout, stderr } = await run(["chat", "/no/such/model"], "Hi\n");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^gpt-oss: .*\/no\/such\/model.* \(MODEL_NOT_FOUND\)\n$/);
  });
});

describe("pull", () => {
  it.each([
    ["chat", "openai/gpt-oss-20b"],
    ["generate", "gpt-oss-20b"],
    ["serve", "OpenAI/gpt-oss-20b/"],
    ["inspect", "20b"],
  ])("is what %s names for a model that is not there", async (command, name) => {
    const home = new ModelHome();
    const { code, stdout, stderr } = await run([command, name], "Hi", home.env);
    home.remove();
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(
      /^gpt-oss: Expected a path or .*; "gpt-oss pull openai\/gpt-oss-20b" gets it \(MODEL_NOT_FOUND\)\n$/,
    );
  });
});

describe("usage", () => {
  it.each([
    ["--help"],
    ["chat --help"],
    ["generate --help"],
    ["inspect --help"],
    ["models --help"],
    ["plan --help"],
    ["doctor --help"],
    ["pull --help"],
    ["verify --help"],
    ["serve --help"],
    ["--version"],
  ])("gpt-oss %s succeeds", async (args) => {
    const { code, stdout, stderr } = await run(args.split(" "));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(args === "--version" ? /^\d+\.\d+\.\d+\n$/ : /^Usage: gpt-oss/);
    expect(stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });

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
    ["generate --prompt a --n 0"],
    ["generate --prompt a --n 65"],
    ["generate --prompt a --stop="],
    ["generate --prompt a --logprobs 5"],
    ["generate --prompt a --json --logprobs 21"],
    ["generate --prompt a --schema {"],
    ["generate --prompt a --schema /no/such/schema.json"],
    ["generate --prompt a --kv-dtype f64"],
    ["generate --prompt a --kv-bytes lots"],
    ["chat --max-sequences 0"],
    ["chat --kv-bytes 4Gi"],
    ["chat --temperature 1000"],
    ["chat --max-tokens 0"],
    ["inspect"],
    ["verify"],
  ])("gpt-oss %s is wrong and says so in one line", async (args) => {
    const { code, stdout, stderr } = await run(args.split(" "));
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^gpt-oss: .+ \((USAGE|INVALID_ARGUMENT)\)\n$/);
    expect(stderr).not.toContain(".;");
  });

  it.each([
    ["chta", "did you mean chat?"],
    ["chat --temprature 1", "did you mean --temperature?"],
    ["generate --max-token 1", "did you mean --max-tokens?"],
    ["serve --kv-byte 1", "did you mean --kv-bytes?"],
  ])("gpt-oss %s hears what was meant", async (args, words) => {
    const { code, stderr } = await run(args.split(" "));
    expect(code).toBe(2);
    expect(stderr.toLowerCase()).toContain(words);
  });

  it("nothing at all shows the help, as wrong usage", async () => {
    const { code, stdout, stderr } = await run([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^Usage: gpt-oss/);
  });
});
