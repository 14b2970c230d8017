import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveIn } from "../../../lib/models/resolve.js";
import { failure } from "../../support/failure.js";
import { commitOf, goldenFiles, ModelHome } from "../../support/model-home.js";

let home: ModelHome;
beforeEach(() => {
  home = new ModelHome();
});
afterEach(() => home.remove());

const resolve = (name: string) => resolveIn(home.places, name);
const refusal = async (name: string) => {
  const { code, field, message } = await failure(resolve(name));
  return `${code} ${field}: ${message}`;
};

const tiny = { "config.json": "{}", "model.safetensors": "weights" };
const gguf = (...names: string[]) => Object.fromEntries(names.map((name) => [name, "GGUF"]));

describe("a checkpoint in the Hugging Face cache", () => {
  it("is found by its repository, in any case, with the commit of main", async () => {
    const folder = home.snapshot("openai/gpt-oss-20b", goldenFiles("c"));
    const details = { repository: "openai/gpt-oss-20b", revision: "main", commit: commitOf("a") };
    for (const name of ["openai/gpt-oss-20b", "OpenAI/GPT-OSS-20b/", "20b", "gpt-oss-20b"]) {
      expect(await resolve(name)).toMatchObject({ name, path: folder, source: "huggingface-cache", details });
    }
    const { tried } = await resolve("20b");
    expect(tried).toEqual([{ source: "path", place: path.resolve("20b"), outcome: "nothing", isIncomplete: false }]);
  });

  it("is found by a branch, a tag, a pull request or a commit", async () => {
    const first = home.snapshot("me/mine", tiny, { digit: "a", refs: ["v1", "refs/pr/1"] });
    const second = home.snapshot("me/mine", tiny, { digit: "b" });
    expect((await resolve("me/mine")).path).toBe(second);
    for (const revision of ["v1", "refs/pr/1", commitOf("a"), commitOf("a").toUpperCase()]) {
      const { path: found, details } = await resolve(`me/mine@${revision}`);
      expect({ found, ...details }).toMatchObject({ found: first, revision, commit: commitOf("a") });
    }
    expect(await refusal("me/mine@v2")).toBe(
      "MODEL_NOT_FOUND model: The model me/mine in the Hugging Face cache is not complete: the revision v2 of me/mine " +
        `is not in the cache; the cache has me/mine@${commitOf("a")}, me/mine@${commitOf("b")}; ` +
        '"gpt-oss pull me/mine --revision v2" completes it',
    );
  });

  it("without references is the only snapshot; several are listed", async () => {
    const folder = home.snapshot("me/mine", tiny, { refs: [] });
    expect((await resolve("me/mine")).path).toBe(folder);
    home.snapshot("me/mine", tiny, { digit: "b", refs: [] });
    expect(await refusal("me/mine")).toBe(
      `INVALID_ARGUMENT model: Expected one of me/mine@${commitOf("a")}, me/mine@${commitOf("b")} for the model but ` +
        'received "me/mine" (string)',
    );
  });

  it("whose main is of a snapshot that is not there is not complete", async () => {
    home.snapshot("me/mine", tiny, { digit: "a", refs: [] });
    writeFileSync(path.join(home.repository("me/mine"), "snapshots", ".DS_Store"), "");
    mkdirSync(path.join(home.repository("me/mine"), "refs"));
    writeFileSync(path.join(home.repository("me/mine"), "refs/main"), `${commitOf("b")}\n`);
    expect(await refusal("me/mine")).toContain(
      `the revision main of me/mine is commit ${commitOf("b")}, whose snapshot is not in the cache; the cache has ` +
        `me/mine@${commitOf("a")}; "gpt-oss pull me/mine" completes it`,
    );
  });

  it("with a reference that is no commit counts as without", async () => {
    const folder = home.snapshot("me/mine", tiny);
    for (const text of ["", "../../elsewhere", "x".repeat(5000)]) {
      writeFileSync(path.join(home.repository("me/mine"), "refs/main"), text);
      expect((await resolve("me/mine")).path).toBe(folder);
    }
  });

  it("in OpenAI's layout is found, too", async () => {
    const folder = home.snapshot("me/mine", { "original/config.json": "{}", "original/model.safetensors": "weights" });
    expect((await resolve("me/mine")).path).toBe(folder);
    rmSync(path.join(folder, "original/config.json"));
    expect(await refusal("me/mine")).toContain(`${folder} lacks original/config.json;`);
  });

  it("of a name without an owner is found", async () => {
    const folder = home.snapshot("mine", tiny);
    expect((await resolve("mine")).path).toBe(folder);
  });
});

describe("an incomplete snapshot", () => {
  const lacking = async (
    spoil: (folder: string) => void,
    files: Record<string, string | Buffer> = goldenFiles("c"),
  ) => {
    const folder = home.snapshot("me/mine", files);
    spoil(folder);
    const [, what] = /is not complete: (.*); "gpt-oss pull me\/mine" completes it$/.exec(await refusal("me/mine"))!;
    return what!.replaceAll(folder, "FOLDER");
  };
  const shard = "model-00001-of-00002.safetensors";

  it.each<[string, (folder: string) => void, string]>([
    [
      "a shard that the index names",
      (folder) => unlinkSync(path.join(folder, shard)),
      `the snapshot FOLDER lacks ${shard}`,
    ],
    [
      "the blob of a shard",
      (folder) => {
        unlinkSync(path.join(folder, shard));
        symlinkSync("../../blobs/nothing", path.join(folder, shard));
      },
      `the snapshot FOLDER lacks ${shard}`,
    ],
    [
      "a shard, with a loop of links in its place",
      (folder) => {
        unlinkSync(path.join(folder, shard));
        symlinkSync(shard, path.join(folder, shard));
      },
      `the snapshot FOLDER lacks ${shard}`,
    ],
    [
      "a shard, with a pipe in its place",
      (folder) => {
        unlinkSync(path.join(folder, shard));
        execFileSync("mkfifo", [path.join(folder, shard)]);
      },
      `the snapshot FOLDER lacks ${shard}`,
    ],
    [
      "the index",
      (folder) => unlinkSync(path.join(folder, "model.safetensors.index.json")),
      "the snapshot FOLDER lacks model.safetensors.index.json",
    ],
    ["the config", (folder) => unlinkSync(path.join(folder, "config.json")), "the snapshot FOLDER lacks config.json"],
  ])("without %s says what is missing", async (_, spoil, what) => {
    expect(await lacking(spoil)).toBe(what);
  });

  it("of a damaged index with thousands of names has a short message", async () => {
    const names = Array.from({ length: 5000 }, (_, i) => [`${i}`, `${10000 + i}.safetensors`]);
    const index = JSON.stringify({ weight_map: Object.fromEntries(names) });
    expect(await lacking(() => {}, { "config.json": "{}", "model.safetensors.index.json": index })).toMatch(
      /^the snapshot FOLDER lacks 10000\.safetensors, .*, 10011\.safetensors \(4084 more are not shown\)$/,
    );
  });

  it("with a tokenizer only, or with nothing, has no weights", async () => {
    expect(await lacking(() => {}, { "config.json": "{}", "tokenizer.json": "{}" })).toBe(
      "expected a model in FOLDER, found its config.json but no weights",
    );
    home.remove();
    home = new ModelHome();
    expect(await lacking(() => {}, { "README.md": "" })).toBe("expected a model in FOLDER, found no weights");
  });

  it("without any snapshot is one, too", async () => {
    mkdirSync(path.join(home.repository("me/mine"), "blobs"), { recursive: true });
    expect(await refusal("me/mine")).toContain("the revision main of me/mine is not in the cache;");
  });

  it("gives way to a place that has the whole model", async () => {
    home.snapshot("me/mine", { "config.json": "{}" });
    const folder = home.lmStudio("me/mine", tiny);
    const { path: found, source, tried } = await resolve("me/mine");
    expect({ found, source }).toEqual({ found: folder, source: "lm-studio" });
    expect(tried[1]).toMatchObject({ source: "huggingface-cache", isIncomplete: true });
    expect(tried[1]!.outcome).toContain("is not complete");
  });
});

describe("a short name", () => {
  it("is the released model before others of the name", async () => {
    const other = home.snapshot("a/gpt-oss-20b", tiny);
    expect((await resolve("20b")).path).toBe(other);
    const released = home.snapshot("openai/gpt-oss-20b", tiny);
    expect((await resolve("20b")).path).toBe(released);
  });

  it("is another repository while the released one is not complete", async () => {
    home.snapshot("openai/gpt-oss-20b", { "config.json": "{}", "tokenizer.json": "{}" });
    const folder = home.snapshot("ggml-org/gpt-oss-20b-GGUF", gguf("gpt-oss-20b-mxfp4.gguf"));
    expect(await resolve("gpt-oss-20b")).toMatchObject({
      path: path.join(folder, "gpt-oss-20b-mxfp4.gguf"),
      details: { repository: "ggml-org/gpt-oss-20b-GGUF", file: "gpt-oss-20b-mxfp4.gguf" },
    });
    expect(await refusal("openai/gpt-oss-20b")).toContain("no weights");
  });

  it("of several whole repositories lists them", async () => {
    home.snapshot("a/gpt-oss-20b-GGUF", gguf("a.gguf"));
    home.snapshot("b/gpt-oss-20b", tiny);
    expect(await refusal("20b")).toBe(
      'INVALID_ARGUMENT model: Expected one of a/gpt-oss-20b-GGUF, b/gpt-oss-20b for the model but received "20b" (string)',
    );
  });
});

describe("GGUF files in the Hugging Face cache", () => {
  const files = ["gpt-oss-20b-F16.gguf", "gpt-oss-20b-Q8_0.gguf", "mmproj-F16.gguf", "imatrix_unsloth.gguf", "a.txt"];

  it("are chosen by the file, its name without the ending, or the quantization", async () => {
    const folder = home.snapshot("u/x-GGUF", gguf(...files));
    const wanted = path.join(folder, "gpt-oss-20b-Q8_0.gguf");
    for (const selection of ["gpt-oss-20b-Q8_0.gguf", "GPT-OSS-20B-q8_0", "Q8_0", "q8_0"]) {
      expect((await resolve(`u/x-GGUF:${selection}`)).path).toBe(wanted);
    }
    expect((await resolve("u/x-GGUF/gpt-oss-20b-Q8_0.gguf")).path).toBe(wanted);
    expect((await resolve(`u/x-GGUF@${commitOf("a")}:Q8_0`)).path).toBe(wanted);
  });

  it("that are several are listed, without projectors and importance matrices", async () => {
    home.snapshot("u/x-GGUF", gguf(...files));
    const choices = "one of u/x-GGUF:gpt-oss-20b-F16.gguf, u/x-GGUF:gpt-oss-20b-Q8_0.gguf for the model but received";
    expect(await refusal("u/x-GGUF")).toBe(`INVALID_ARGUMENT model: Expected ${choices} "u/x-GGUF" (string)`);
    for (const selection of ["Q4_K_M", "8_0", "b-Q8_0", "../x.gguf"]) {
      expect(await refusal(`u/x-GGUF:${selection}`)).toContain(`${choices} "u/x-GGUF:${selection}" (string)`);
    }
  });

  it("in parts are one model, also in a folder of their own", async () => {
    const parts = [1, 2, 3].map((part) => `v1.0-Q8_0/x-Q8_0-0000${part}-of-00003.gguf`);
    const folder = home.snapshot("u/x-GGUF", gguf(...parts, "x-F16.gguf"));
    const { path: found, details } = await resolve("u/x-GGUF:Q8_0");
    expect(found).toBe(path.join(folder, parts[0]!));
    expect(details.file).toBe(parts[0]);
    unlinkSync(path.join(folder, parts[1]!));
    unlinkSync(path.join(folder, parts[0]!));
    expect(await refusal("u/x-GGUF:Q8_0")).toContain(`${folder} lacks ${parts[0]}, ${parts[1]};`);
  });

  it("beside a checkpoint come second", async () => {
    const folder = home.snapshot("u/x", { ...tiny, "x-Q8_0.gguf": "GGUF" });
    expect((await resolve("u/x")).path).toBe(folder);
    expect((await resolve("u/x:Q8_0")).path).toBe(path.join(folder, "x-Q8_0.gguf"));
    expect(await refusal("u/x:F16")).toContain('Expected one of u/x:x-Q8_0.gguf for the model but received "u/x:F16"');
  });

  it("cannot be selected where there is none", async () => {
    home.snapshot("u/x", tiny);
    expect(await refusal("u/x:Q8_0")).toContain("Expected a name without a file: no GGUF file is there for the model");
  });

  it("more than a dozen are not all listed", async () => {
    home.snapshot("u/x", gguf(...Array.from({ length: 20 }, (_, i) => `x-${i + 10}.gguf`)));
    expect(await refusal("u/x")).toMatch(/u\/x:x-21\.gguf \(8 more are not shown\) for the model/);
  });
});

describe("a cache that is not as expected", () => {
  it.each<[string, () => void]>([
    ["is a file", () => home.write(".cache/huggingface/hub", "")],
    ["is a pipe", () => execFileSync("mkfifo", [path.join(home.root, "pipe")])],
    [
      "is a loop of links",
      () => {
        mkdirSync(home.path(".cache/huggingface"), { recursive: true });
        symlinkSync("hub", home.path(".cache/huggingface/hub"));
      },
    ],
    ["has a file for a repository", () => home.write(".cache/huggingface/hub/models--me--mine", "")],
  ])("that %s has no model and says so", async (what, make) => {
    make();
    if (what === "is a pipe") {
      mkdirSync(home.path(".cache/huggingface"), { recursive: true });
      renameSync(home.path("pipe"), home.path(".cache/huggingface/hub"));
    }
    expect(await refusal("me/mine")).toMatch(/^MODEL_NOT_FOUND model: .*Hugging Face cache/);
  });

  it("with pipes for its files does not wait for a writer", async () => {
    const folder = home.snapshot("me/mine", goldenFiles("c"));
    for (const file of [
      path.join(folder, "model.safetensors.index.json"),
      path.join(home.repository("me/mine"), "refs/main"),
    ]) {
      unlinkSync(file);
      execFileSync("mkfifo", [file]);
    }
    expect(await refusal("me/mine")).toContain("lacks model.safetensors.index.json");
  });

  it("with thousands of entries still finds a repository by its whole name", async () => {
    const folder = home.snapshot("zz/last", tiny);
    execFileSync("bash", ["-c", "touch models--a--{1..4200}"], { cwd: home.places.huggingFace! });
    expect((await resolve("zz/last")).path).toBe(folder);
    expect(await refusal("nowhere")).toContain("no such model among its first entries, and it has too many");
  });
});
