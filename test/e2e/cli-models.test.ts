import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { environment, listen, program, run, start } from "../support/cli.js";
import { GoldenModel, ggufBytes, ggufOf } from "../support/gguf.js";
import { commitOf, goldenFiles, ModelHome } from "../support/model-home.js";

/** Models that other programs keep, by their names. */

let home: ModelHome;
let snapshot: string;
let studio: string;
beforeAll(() => {
  home = new ModelHome();
  snapshot = home.snapshot("openai/gpt-oss-20b", goldenFiles("c"));
  studio = home.lmStudio("me/merged", goldenFiles("c"));
  unlinkSync(path.join(home.snapshot("me/merged", goldenFiles("c")), "config.json"));
  home.ollama("registry.ollama.ai/library/gpt-oss/20b", home.manifest([{ kind: "adapter", content: "x" }]));
});
afterAll(() => home.remove());

const source = `Hugging Face cache: openai/gpt-oss-20b, main, commit ${commitOf("a")}`;
const generated = ["--tokens", "1,2,3", "--max-tokens", "2", "--json"];

describe("a model by its name", () => {
  it("is inspected, and its place is told", async () => {
    const { code, stdout } = await run(["inspect", "20b"], "", home.env);
    expect(code).toBe(0);
    expect(stdout.split("\n").slice(0, 2)).toEqual([`source      ${source}`, `checkpoint  ${snapshot}`]);
    const json = await run(["inspect", "OpenAI/gpt-oss-20b", "--json"], "", home.env);
    expect(JSON.parse(json.stdout)).toMatchObject({
      name: "OpenAI/gpt-oss-20b",
      path: snapshot,
      source: "huggingface-cache",
      details: { repository: "openai/gpt-oss-20b", revision: "main", commit: commitOf("a") },
      tried: [{ source: "path" }],
      model: { layers: 3 },
    });
  });

  it("is generated with, also by GPT_OSS_MODEL", async () => {
    for (const [args, env] of [[["20b"], {}] as const, [[], { GPT_OSS_MODEL: "20b" }] as const]) {
      const { code, stdout, stderr } = await run(["generate", ...args, ...generated], "", { ...home.env, ...env });
      expect({ code, stderr }).toEqual({ code: 0, stderr: `20b from ${source}\n` });
      expect(JSON.parse(stdout)).toMatchObject({ model: "20b", usage: { completionTokens: 2 } });
    }
  });

  it("is told with the incomplete one that was passed over", async () => {
    const { code, stderr } = await run(["generate", "me/merged", ...generated], "", home.env);
    expect(code).toBe(0);
    const [passed, taken] = stderr.trimEnd().split("\n");
    expect(passed).toMatch(
      /^Passed over: The model me\/merged in the Hugging Face cache is not complete: .* lacks config\.json;/,
    );
    expect(taken).toBe("me/merged from LM Studio: me/merged");
    expect((await run(["inspect", "me/merged"], "", home.env)).stdout).toContain(`checkpoint  ${studio}\n`);
  });

  it("is served under the last part of its repository's name", async () => {
    const child = start(["serve", "20b", "--port", "0"], home.env);
    const stdout = listen(child.stdout);
    await stdout.until(/Listening on \S+\n/);
    const [, address] = /Listening on (\S+)/.exec(stdout.text)!;
    const { data } = (await (await fetch(`${address}/v1/models`)).json()) as { data: { id: string }[] };
    child.kill("SIGTERM");
    expect(data.map(({ id }) => id)).toEqual(["gpt-oss-20b"]);
  });

  it("is served with its place in the log, which is all that stderr has", async () => {
    const other = new ModelHome();
    const weights = ggufBytes(ggufOf(new GoldenModel("c"), { ollama: "split" }));
    other.ollama("registry.ollama.ai/library/gpt-oss/20b", other.manifest([{ kind: "model", content: weights }]));
    const part = other.write("demo-00001-of-00001.gguf", ggufBytes(ggufOf(new GoldenModel("c"))));
    const served = async (model: string) => {
      const child = start(["serve", model, "--port", "0"], other.env);
      const [stdout, stderr] = [listen(child.stdout), listen(child.stderr)];
      await stdout.until(/Listening on \S+\n/);
      await stderr.until("the model is ready");
      const [, address] = /Listening on (\S+)/.exec(stdout.text)!;
      const { data } = (await (await fetch(`${address}/v1/models`)).json()) as { data: { id: string }[] };
      const ended = once(child, "close");
      child.kill("SIGTERM");
      await ended;
      const log = stderr.text.trimEnd().split("\n");
      return { ids: data.map(({ id }) => id), log: log.map((line) => JSON.parse(line) as { msg: string }) };
    };
    const [byName, byFile] = [await served("gpt-oss:20b"), await served(part)];
    other.remove();
    expect(byName.ids).toEqual(["gpt-oss:20b"]);
    expect(byName.log.find(({ msg }) => msg === "found the model")).toMatchObject({
      model: "gpt-oss:20b",
      source: "ollama",
      place: expect.stringMatching(/^Ollama: manifest \//),
    });
    expect(byFile.ids).toEqual(["demo"]);
  });

  it("is hashed again by gpt-oss verify", async () => {
    const other = new ModelHome();
    other.ollama("registry.ollama.ai/library/gpt-oss/20b", other.manifest([{ kind: "model", content: "weights" }]));
    const whole = await run(["verify", "gpt-oss:20b"], "", other.env);
    writeFileSync(other.blob("weights"), "Weights");
    const damaged = await run(["verify", "gpt-oss:20b"], "", other.env);
    other.remove();
    expect(whole).toMatchObject({ code: 0 });
    expect(damaged.code).toBe(1);
    expect(damaged.stderr).toMatch(
      /^gpt-oss: Expected whole files, found 1 of 1 otherwise: sha256-\w+ \(damaged\); remove .*"ollama pull".* \(MODEL_FORMAT\)$/m,
    );
  });

  it("that cannot be used is refused in a sentence", async () => {
    const { code, stdout, stderr } = await run(["chat", "gpt-oss:20b"], "Hi\n", home.env);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^gpt-oss: \/.*: expected one layer of weights, found an adapter; .* \(UNSUPPORTED\)\n$/);
  });

  it("in GPT_OSS_MODEL that nothing has is named by doctor", async () => {
    const { code, stdout } = await run(["doctor"], "", { ...home.env, GPT_OSS_MODEL: "21b" });
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^Not ready: GPT_OSS_MODEL is "21b", expected a path or a model of this machine, found no "21b" /m,
    );
    expect((await run(["doctor"], "", { ...home.env, GPT_OSS_MODEL: "20b" })).code).toBe(0);
  });
});

describe("gpt-oss models", () => {
  it("lists what is there, and the names to type", async () => {
    const { code, stdout, stderr } = await run(["models"], "", home.env);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.trimEnd().split("\n")).toEqual([
      "name                source              size     format",
      "me/merged           Hugging Face cache  590 kB   safetensors; incomplete: config.json missing",
      "openai/gpt-oss-20b  Hugging Face cache  590 kB   safetensors",
      "me/merged           LM Studio           590 kB   safetensors",
      expect.stringMatching(
        /^gpt-oss:20b {9}Ollama {14}0 bytes {2}gguf; \/.*: expected one layer of weights, found an adapter/,
      ),
    ]);
    const json = JSON.parse((await run(["models", "--json"], "", home.env)).stdout) as { models: object[] };
    expect(json.models).toHaveLength(4);
    expect(json.models[1]).toEqual({
      name: "openai/gpt-oss-20b",
      source: "huggingface-cache",
      path: snapshot,
      bytes: 590054,
      format: "safetensors",
      problem: null,
    });
  });

  it("says how to get one where none is", async () => {
    const env = { ...home.env, HOME: "/nowhere", OLLAMA_MODELS: "/nowhere" };
    const { code, stdout, stderr } = await run(["models"], "", env);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toBe('No model is on this machine. "gpt-oss pull openai/gpt-oss-20b" gets one.\n');
    expect(JSON.parse((await run(["models", "--json"], "", env)).stdout)).toEqual({ models: [], unreadable: [] });
  });

  it("names the folders that the user cannot read, and so does an error", () => {
    const closed = new ModelHome();
    closed.snapshot("openai/gpt-oss-20b", goldenFiles("c"));
    for (const folder of [closed.root, closed.path(".cache"), closed.path(".cache/huggingface")])
      chmodSync(folder, 0o755);
    chmodSync(closed.places.huggingFace!, 0);
    const other = process.getuid?.() === 0 ? ["setpriv", "--reuid=64123", "--regid=64123", "--clear-groups"] : [];
    const as = (...args: string[]) => {
      const [command, ...rest] = [...other, process.execPath, program, ...args] as [string, ...string[]];
      return spawnSync(command, rest, { env: environment(closed.env), encoding: "utf8" });
    };
    const [listed, json, inspected] = [as("models"), as("models", "--json"), as("inspect", "20b")];
    chmodSync(closed.places.huggingFace!, 0o755);
    closed.remove();
    const place = closed.places.huggingFace!;
    const problem = "something that this user cannot read";
    expect(listed).toMatchObject({ status: 0, stdout: "" });
    expect(listed.stderr).toBe(
      'No model is in the folders that can be read. "gpt-oss pull openai/gpt-oss-20b" gets one.\n' +
        `Not read: ${place} (Hugging Face cache): ${problem}\n`,
    );
    expect(JSON.parse(json.stdout)).toEqual({
      models: [],
      unreadable: [{ source: "huggingface-cache", path: place, problem }],
    });
    expect(inspected.status).toBe(1);
    expect(inspected.stderr).toContain(`(${closed.places.huggingFace}: something that this user cannot read)`);
  });
});
