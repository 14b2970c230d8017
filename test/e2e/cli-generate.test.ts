import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { demoLabel, finish, goldenModel, listen, type Run, run, start } from "../support/cli.js";

describe("generate", () => {
  it("answers a prompt, or the text on stdin", async () => {
    const byOption = await run(["generate", "--prompt", "What is 7 + 8?", "--no-reasoning"]);
    expect(byOption).toMatchObject({ code: 0, stdout: "7 + 8 = 15\n" });
    expect(byOption.stderr).toContain(demoLabel);
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
    const text = "<|start|>user<|message|>Hi<|end|><|start|>assistant"; // as text, so without control tokens
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
    const child = start(["generate", "--raw", "--prompt", "Write", "--temperature", "100", "--seed", "1"]);
    const stderr = listen(child.stderr);
    child.stdout.once("data", () => child.stdout.destroy());
    const [code] = await once(child, "close");
    expect(code).toBe(0);
    expect(stderr.text.trim().split("\n")).toHaveLength(1);
  });

  const endless = ["--temperature", "100", "--seed", "1"]; // at this temperature it rarely ends by itself

  it("a SIGINT ends the completion with what there is, and code 130", async () => {
    const child = start(["generate", "--raw", "--prompt", "Write", ...endless]);
    const done = finish(child);
    await once(child.stdout, "data");
    child.kill("SIGINT");
    const { code, stdout } = await done;
    expect(code).toBe(130);
    expect(stdout).toMatch(/\S/);
  });

  it("a SIGINT while the prompt is answered leaves one whole object with --json", async () => {
    const child = start(["generate", "--prompt", "Write me a story.", "--speed", "--json", ...endless]);
    const [stdout, stderr] = [listen(child.stdout), listen(child.stderr)];
    const closed = once(child, "close");
    await stderr.until(demoLabel);
    await setTimeout(500); // usually the model has loaded by then; before that, the exit code is the same
    child.kill("SIGINT");
    const [code] = await closed;
    expect(code).toBe(130);
    if (stdout.text !== "") expect(JSON.parse(stdout.text)).toMatchObject({ finishReason: "cancelled" });
  });
});

describe("generate with", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), "gpt-oss-generate-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  interface Answer {
    content: string;
    text: string;
    reasoning: string;
    finishReason: string;
    usage: { completionTokens: number };
    logprobs: { logprob: number; top: { logprob: number }[]; text?: string }[];
    choices: Answer[];
  }
  const json = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(["generate", ...args, "--json"]);
    expect({ code, stderr: stderr.replace(/^demo model: .*\n/, "") }).toEqual({ code: 0, stderr: "" });
    return JSON.parse(stdout) as Answer;
  };

  it("--stop ends the answer before a text, and not its reasoning", async () => {
    const question = ["--prompt", "What is 7 + 8?"];
    const stopped = await json(...question, "--stop", "15", "--stop", "never");
    expect(stopped).toMatchObject({ content: "7 + 8 = ", finishReason: "stop" });
    expect(stopped.reasoning).toContain("15");
    const plain = await run(["generate", ...question, "--stop", " ="]);
    expect(plain.stdout).toBe("7 + 8\n");
    const raw = await json("--raw", "--prompt", "The", "--max-tokens", "40");
    const word = raw.text.trim().split(/\s+/)[2]!;
    const cut = await json("--raw", "--prompt", "The", "--max-tokens", "40", "--stop", word);
    expect(cut.text).toBe(raw.text.slice(0, raw.text.indexOf(word)));
  });

  it("--n gives several answers of one prompt, one after the other", async () => {
    const hot = ["--prompt", "Hi", "--n", "3", "--temperature", "2", "--seed", "4", "--max-tokens", "60"];
    const answers = await json(...hot);
    expect(answers.choices).toHaveLength(3);
    expect(answers.content).toBe(answers.choices[0]!.content);
    expect(answers.usage.completionTokens).toBe(
      answers.choices.reduce((sum, { usage }) => sum + usage.completionTokens, 0),
    );
    const first = await json(...hot.map((word) => (word === "3" ? "1" : word)));
    expect(first.content).toBe(answers.content);
    const shown = await run(["generate", "--n", "2", "--prompt", "What is 7 + 8?"]);
    expect(shown.stdout).toBe("7 + 8 = 15\n\n7 + 8 = 15\n");
    const raw = await json("--raw", "--prompt", "The", "--n", "2", "--max-tokens", "3", "--temperature", "1");
    expect(raw.choices).toHaveLength(2);
  });

  it("--logprobs tells the likeliest tokens", async () => {
    const answer = await json("--prompt", "What is 7 + 8?", "--logprobs", "3");
    expect(answer.logprobs.map(({ text }) => text).join("")).toBe(answer.content);
    for (const { logprob, top } of answer.logprobs) {
      expect([1, 2, 3]).toContain(top.length); // control tokens are not listed
      expect(top[0]!.logprob).toBe(logprob); // the demo model always takes the likeliest
    }
    const raw = await json("--tokens", "1,2,3", "--max-tokens", "2", "--logprobs", "2");
    expect(raw.logprobs.map(({ top }) => top.length)).toEqual([2, 2]);
  });

  const schema = { type: "object", properties: { sum: { type: "integer" } }, required: ["sum"] };

  it("--schema gives JSON of that schema, named in place or by file", async () => {
    const file = path.join(folder, "schema.json");
    writeFileSync(file, JSON.stringify(schema));
    for (const named of [JSON.stringify(schema), file]) {
      for (const form of [[], ["--raw"]]) {
        const args = ["generate", ...form, "--prompt", "What is 7 + 8?", "--schema", named, "--max-tokens", "300"];
        const { code, stdout } = await run(args);
        expect(code).toBe(0);
        expect(JSON.parse(stdout)).toEqual({ sum: expect.any(Number) });
      }
    }
  });

  it.each<[string, string, string]>([
    [
      "a schema that is not supported",
      JSON.stringify({ type: "string", not: { const: "a" } }),
      "INVALID_ARGUMENT|UNSUPPORTED",
    ],
    ["what is no schema", "[]", "USAGE"],
    ["what is no JSON", '{"type": ', "USAGE"],
  ])("--schema refuses %s before the model is loaded", async (_, text, code) => {
    const named = text === "[]" ? path.join(folder, "list.json") : text;
    writeFileSync(path.join(folder, "list.json"), "[]");
    const refused = await run(["generate", "synthetic:120b", "--prompt", "a", "--schema", named]);
    expect([1, 2]).toContain(refused.code);
    expect(refused.stderr).toMatch(new RegExp(`^gpt-oss: .+ \\((${code})\\)\n$`));
  });

  it("--schema and a vocabulary that has no harmony refuses, unless it is --raw", async () => {
    const args = ["generate", goldenModel, "--prompt", "a", "--schema", "true"];
    const { code, stderr } = await run(args);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^gpt-oss: --schema needs .* or --raw \(UNSUPPORTED\)\n$/);
  });
});
