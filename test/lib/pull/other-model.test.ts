import { readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { architectureIn, ggufStartBytes } from "../../../lib/models/index.js";
import { failure } from "../../support/failure.js";
import { type GgufValue, ggufBytes } from "../../support/gguf.js";
import { large, setting } from "../../support/pull.js";

/** A repository of another model is refused by its first bytes, before its weights are fetched. */

const here = setting();
const llama = '{"model_type":"llama","architectures":["LlamaForCausalLM"]}';

function gguf(architecture: string, before: [string, GgufValue][] = []): Buffer {
  const named: [string, GgufValue] = ["general.architecture", { type: "string", value: architecture }];
  const tensor = { name: "w", type: 0, shape: [2000], bytes: Buffer.alloc(8000) };
  return ggufBytes({ values: new Map([...before, named]), tensors: [tensor] });
}
const ggufFile = (...given: Parameters<typeof gguf>) => ({ bytes: gguf(...given), isLarge: true });

async function refused(repository: string, what: string): Promise<void> {
  const dir = path.join(here.folder, "m");
  for (const options of [{ repository }, { repository, dir }]) {
    expect(await failure(here.pull(options))).toMatchObject({
      code: "UNSUPPORTED",
      field: "repository",
      message: `${repository} is not a gpt-oss model: ${what}; its weights were not downloaded`,
    });
  }
  expect(readdirSync(here.folder)).toEqual([]);
}

describe("a repository with another model", () => {
  it("is refused by its config", async () => {
    here.hub.add("me/llama", { "config.json": llama, "model.safetensors": large(9000, 1) });
    await refused("me/llama", 'config.json has model_type "llama"');
    expect(here.hub.requestedRanges).toEqual([]);
    here.hub.add("me/class", {
      "config.json": '{"model_type":"gpt_oss","architectures":["Other"]}',
      "model.safetensors": large(10, 1),
    });
    await refused("me/class", 'config.json has architectures ["Other"]');
  });

  it("is refused by the config of original/", async () => {
    here.hub.add("me/original", { "original/config.json": llama, "original/model.safetensors": large(9000, 1) });
    await refused("me/original", 'original/config.json has model_type "llama"');
  });

  it("is refused by the first bytes of a GGUF file, from a server without ranges, too", async () => {
    here.hub.add("me/gguf", { "m.gguf": ggufFile("llama") });
    await refused("me/gguf", 'm.gguf has general.architecture "llama"');
    expect(here.hub.requestedRanges).toEqual(Array(2).fill(`bytes=0-${ggufStartBytes - 1}`));
    here.hub.fault = () => ({ noRanges: true });
    await refused("me/gguf", 'm.gguf has general.architecture "llama"');
  });

  it("is refused by the first part of a split file", async () => {
    here.hub.add("me/split", {
      "m-00002-of-00002.gguf": large(5000, 1),
      "m-00001-of-00002.gguf": ggufFile("qwen3moe"),
    });
    await refused("me/split", 'm-00001-of-00002.gguf has general.architecture "qwen3moe"');
  });

  it("is refused when its config is there already", async () => {
    const dir = path.join(here.folder, "m");
    here.hub.add("me/llama", { "config.json": llama, "model.safetensors": large(9000, 1) });
    const { mkdirSync, writeFileSync } = await import("node:fs");
    mkdirSync(dir);
    writeFileSync(path.join(dir, "config.json"), llama);
    expect(await failure(here.pull({ repository: "me/llama", dir }))).toMatchObject({ code: "UNSUPPORTED" });
    expect(here.hub.seen.filter(({ url }) => url.includes("/resolve/"))).toEqual([]);
  });
});

describe("a repository whose config is no JSON object", () => {
  it.each([
    ["an array", "[1]", "an array"],
    ["a number", "1", "a single value"],
    ["null", "null", "a single value"],
    ["a megabyte of brackets", "[".repeat(1e6), "no JSON"],
    ["a text", "model_type: gpt_oss", "no JSON"],
    ["an object that ends early", '{"model_type":', "no JSON"],
    ["empty", "", "no JSON"],
  ])("is refused before its weights: %s", async (_, config, found) => {
    here.hub.add("me/odd", { "config.json": config, "model.safetensors": large(9000, 1) });
    expect(await failure(here.pull({ repository: "me/odd" }))).toMatchObject({
      code: "MODEL_FORMAT",
      field: "repository",
      message: `me/odd has no usable config: expected a JSON object in config.json, found ${found}; its weights were not downloaded`,
    });
    expect(here.hub.requestedRanges).toEqual([]);
    expect(readdirSync(here.folder)).toEqual([]);
  });
});

describe("a repository of gpt-oss", () => {
  it.each(["gpt-oss", "gptoss"])("is fetched with the architecture %s", async (architecture) => {
    here.hub.add("me/m", { "m.gguf": ggufFile(architecture) });
    expect((await here.pull({ repository: "me/m" })).files).toHaveLength(1);
  });

  it("is fetched when a connection broke on the first try", async () => {
    here.hub.fault = ({ name, count }) => (name === "config.json" && count === 0 ? { cutAfter: 5 } : undefined);
    expect((await here.pull()).files.every(({ state }) => state === "downloaded")).toBe(true);
  });

  it("is fetched when its config arrived damaged on the first try", async () => {
    const right = here.hub.repositories.get("openai/gpt-oss-20b")!.files["config.json"]!.bytes;
    here.hub.fault = ({ count }) => (count === 0 ? { flip: right.indexOf("gpt_oss") } : undefined);
    expect((await here.pull()).files).not.toEqual([]);
  });

  it("ends with the hub's refusal of its config", async () => {
    here.hub.fault = ({ name }) => (name === "config.json" ? { status: 404 } : undefined);
    expect(await failure(here.pull())).toMatchObject({
      code: "DOWNLOAD",
      message: "config.json: the hub lists it and does not have it any more (404); try again",
    });
  });
});

describe("the architecture of a GGUF file", () => {
  it("is found behind plain values", () => {
    const before: [string, GgufValue][] = [
      ["general.alignment", { type: "u32", value: 32 }],
      ["a", { type: "bool", value: 1 }],
      ["b", { type: "string", value: "text" }],
    ];
    expect(architectureIn(gguf("llama", before))).toBe("llama");
  });

  it("is not known behind an array, in other files, and where the bytes end early", () => {
    expect(architectureIn(gguf("llama", [["a", { type: "i32s", value: [1, 2] }]]))).toBeNull();
    expect(architectureIn(large(4096, 1).bytes)).toBeNull();
    const whole = gguf("llama");
    for (let length = 0; length < 69; length++) expect(architectureIn(whole.subarray(0, length))).toBeNull();
    const endless = Buffer.from(whole);
    endless.writeBigUInt64LE(2n ** 64n - 1n, 24);
    expect(architectureIn(endless)).toBeNull();
  });
});
