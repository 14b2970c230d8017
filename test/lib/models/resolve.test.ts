import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Engine, inspectCheckpoint, resolveModel } from "../../../lib/index.js";
import { packedPlace } from "../../../lib/models/packed-place.js";
import { userCacheFolder } from "../../../lib/models/places.js";
import { resolveIn } from "../../../lib/models/resolve.js";
import { resolution, servedName } from "../../../lib/models/source-words.js";
import { failure } from "../../support/failure.js";
import { commitOf, goldenFiles, ModelHome } from "../../support/model-home.js";

let home: ModelHome;
const golden = path.resolve("test/golden/models/a");

beforeAll(() => {
  home = new ModelHome();
});
afterAll(() => home.remove());

describe("a path", () => {
  it("that exists is taken first, whatever it is", async () => {
    home.snapshot("test/golden", goldenFiles("a"));
    expect(await resolveIn(home.places, "test/golden")).toMatchObject({
      path: path.resolve("test/golden"),
      source: "path",
    });
    const pipe = home.path("pipe");
    execFileSync("mkfifo", [pipe]);
    for (const name of [golden, "./test/golden/models/a", `${golden}/model.safetensors`, pipe]) {
      const resolved = await resolveModel(name);
      expect(resolved).toEqual({ name, path: path.resolve(name), source: "path", details: {}, tried: [] });
    }
    expect(await failure(inspectCheckpoint(pipe))).toMatchObject({ code: "MODEL_FORMAT" });
  });

  it.each([
    ["/no/such/model", "nothing"],
    ["./no/such/model", "nothing"],
    ["../no/such/model", "nothing"],
    ["./package.json/model", "something that is not a folder"],
    [`/${"x".repeat(300)}`, "a name that is too long for a file"],
  ])("%s is not searched in other places", async (name, found) => {
    expect(await failure(resolveModel(name))).toMatchObject({
      code: "MODEL_NOT_FOUND",
      field: "model",
      message: `Expected a checkpoint folder or a file of weights at ${path.resolve(name)}, found ${found}`,
    });
  });

  it("that is a loop of links is passed on, and refused by the loader", async () => {
    const loop = home.path("loop");
    symlinkSync("loop", loop);
    expect((await resolveModel(loop)).source).toBe("path");
    expect((await failure(Engine.load(loop))).code).toBe("MODEL_NOT_FOUND");
  });

  it.each([[""], ["a\0b"], [5], [null], [undefined], [{}]])("%j is no name", async (name) => {
    const { code, field, message } = await failure(resolveModel(name as never));
    expect({ code, field }).toEqual({ code: "INVALID_ARGUMENT", field: "model" });
    expect(message).toMatch(
      /^Expected the path of a checkpoint, the name of a model, or "demo" for the model but received /,
    );
  });
});

describe("a name that nothing has", () => {
  const refusal = async (name: string) => (await failure(resolveIn(home.places, name))).message;

  it("is told with all places that were searched", async () => {
    const { huggingFace, lmStudio, ollama } = home.places;
    const places = { huggingFace, lmStudio, ollama: [...ollama, home.path("service")] };
    expect((await failure(resolveIn(places, "nothing"))).message).toBe(
      `Expected a path or a model of this machine, found no "nothing" at ${path.resolve("nothing")}, in Hugging Face cache ` +
        `(${huggingFace}), in LM Studio (${lmStudio}: no such folder), in Ollama (${ollama[0]}: no such folder); ` +
        '"gpt-oss models" lists what this machine has, and "gpt-oss pull openai/gpt-oss-20b" gets a model',
    );
    const none = { huggingFace: null, lmStudio: null, ollama: [] };
    expect((await failure(resolveIn(none, "nothing"))).message).toContain(
      "in Hugging Face cache (this account has no home folder), in LM Studio (this account has no home folder);",
    );
  });

  it.each([
    ["120b", '"gpt-oss pull openai/gpt-oss-120b" gets it'],
    ["OpenAI/gpt-oss-120b", '"gpt-oss pull openai/gpt-oss-120b" gets it'],
    ["gpt-oss:120b", '"gpt-oss pull openai/gpt-oss-120b" gets it'],
    ["gpt-oss-12b", 'did you mean gpt-oss-120b, which "gpt-oss pull openai/gpt-oss-120b" gets?'],
    [
      "openai/gpt-oss-safegard-20b",
      'did you mean openai/gpt-oss-safeguard-20b, which "gpt-oss pull openai/gpt-oss-safeguard-20b" gets?',
    ],
    ["DEMO", "did you mean demo?"],
    ["test/goldn", "did you mean test/golden?"],
    ["somebody/model", '"gpt-oss pull somebody/model" gets it if Hugging Face has it'],
    ["https://huggingface.co/somebody/model", '"gpt-oss pull somebody/model" gets it if Hugging Face has it'],
    ["somebody/model:Q8_0", '"gpt-oss pull somebody/model:Q8_0" gets it if Hugging Face has it'],
    ["somebody/model@v1:a.gguf", '"gpt-oss pull somebody/model@v1:a.gguf" gets it if Hugging Face has it'],
  ])("%s: %s", async (name, advice) => {
    expect((await refusal(name)).split("; ").at(-1)).toBe(advice);
  });

  it.each([
    [
      "a".repeat(5000),
      '"gpt-oss models" lists what this machine has, and "gpt-oss pull openai/gpt-oss-20b" gets a model',
    ],
    [`o/${"a".repeat(5000)}`, '"gpt-oss pull openai/gpt-oss-20b" gets a model'],
    [`/${"a".repeat(5000)}`, "a name that is too long for a file"],
  ])("is cut where nobody could read it", async (name, end) => {
    const message = await refusal(name);
    expect(message.length).toBeLessThan(1600);
    expect(message).toContain(`${name.slice(0, 200)}`);
    expect(message).toContain("a…");
    expect(message.endsWith(end)).toBe(true);
  });

  it.each(["gpt-oss:7b", "gpt-oss-12b", "openai/gpt-oss-7b", "gpt-oss-safeguard:7b", "7b"])(
    "%s: tells the sizes that there are",
    async (name) => {
      expect(await refusal(name)).toContain("; gpt-oss has the sizes 20b and 120b; ");
    },
  );

  it.each(["gpt-oss:120b", "20b", "nothing-7b"])("%s: tells no sizes", async (name) => {
    expect(await refusal(name)).not.toContain("sizes");
  });

  it("is no path either, so its characters do not matter", async () => {
    for (const name of ["a b", "x/y/z/w", "ä:ö", "x".repeat(5000), "a\nb", "\u001b[2J", "C:\\models\\a"]) {
      expect((await failure(resolveIn(home.places, name))).code).toBe("MODEL_NOT_FOUND");
    }
  });
});

describe("an engine", () => {
  it("tells where its model was found, in other threads too", async () => {
    const folder = home.snapshot("me/loaded", goldenFiles("c"));
    await using engine = await Engine.load(folder);
    expect(engine.info.resolved).toEqual({ name: folder, path: folder, source: "path", details: {}, tried: [] });
    await using attached = Engine.attach(structuredClone(engine.share()));
    expect(attached.info.resolved).toEqual(engine.info.resolved);
  });

  it("or inspect tells the same of demo and of synthetic models", async () => {
    const { source, layout } = await inspectCheckpoint("demo");
    expect({ source, layout }).toEqual({ source: "demo", layout: "huggingface" });
    expect(await resolveModel("synthetic:tiny?seed=2")).toMatchObject({
      path: "synthetic:tiny?seed=2",
      source: "synthetic",
    });
  });
});

describe("packed weights", () => {
  const large = (folder: string) => {
    const file = path.join(folder, "model.safetensors");
    writeFileSync(file, "");
    truncateSync(file, 2 ** 30);
    return folder;
  };

  it("are not kept beside a model that another program owns", async () => {
    const inCache = large(home.snapshot("me/large", { "config.json": "{}" }));
    const inStudio = large(home.lmStudio("me/large", { "config.json": "{}" }));
    const blob = home.write(".ollama/models/blobs/sha256-a", "");
    truncateSync(blob, 2 ** 31);
    for (const model of [inCache, inStudio, blob])
      expect(await packedPlace(home.places, model)).toBe(userCacheFolder());
    expect(await packedPlace(home.places, home.snapshot("me/small", goldenFiles("a")))).toBe("memory");
  });

  it("are kept beside other ones, as before", async () => {
    mkdirSync(home.path("own"));
    expect(await packedPlace(home.places, large(home.path("own")))).toBe("auto");
    expect(await packedPlace(home.places, golden)).toBe("auto");
  });

  it("notice a place behind a link", async () => {
    const folder = large(home.snapshot("me/linked", { "config.json": "{}" }));
    symlinkSync(home.path(".cache"), home.path("link"));
    const places = { ...home.places, huggingFace: home.path("link/huggingface/hub") };
    expect(await packedPlace(places, folder)).toBe(userCacheFolder());
    symlinkSync(folder, home.path("shortcut"));
    for (const model of [home.path("shortcut"), home.path("shortcut/model.safetensors")]) {
      expect(await packedPlace(home.places, model)).toBe(userCacheFolder());
    }
  });
});

describe("a resolved model", () => {
  const details = { repository: "openai/gpt-oss-20b", commit: commitOf("a") };
  const base = { path: "/x/y", tried: [] };
  it.each([
    [{ name: "demo", source: "demo", details: {} }, "embedded demo model", "demo"],
    [{ name: "synthetic:20b?seed=1", source: "synthetic", details: {} }, /^synthetic, random/, "synthetic:20b"],
    [{ name: "./y/", source: "path", details: {} }, "path", "y"],
    [{ name: "y", source: "path", details: {}, path: "/x/demo-00002-of-00003.gguf" }, "path", "demo"],
    [{ name: "y", source: "path", details: {}, path: "/x/gpt-oss-20b-Q8_0.GGUF" }, "path", "gpt-oss-20b-Q8_0"],
    [{ name: "y", source: "path", details: {}, path: "/x/tuned.safetensors" }, "path", "tuned"],
    [{ name: "y", source: "path", details: {}, path: "/models/v1.2" }, "path", "v1.2"],
    [
      { name: "20b", source: "huggingface-cache", details: { ...details, revision: "main" } },
      `Hugging Face cache: openai/gpt-oss-20b, main, commit ${commitOf("a")}`,
      "gpt-oss-20b",
    ],
    [
      { name: "20b", source: "huggingface-cache", details: { ...details, revision: commitOf("a") } },
      `Hugging Face cache: openai/gpt-oss-20b, commit ${commitOf("a")}`,
      "gpt-oss-20b",
    ],
    [
      { name: "me/x:Q8_0", source: "lm-studio", details: { repository: "me/x", file: "f.gguf" } },
      "LM Studio: me/x, f.gguf",
      "x",
    ],
    [{ name: "gpt-oss:20b", source: "ollama", details: { manifest: "/m" } }, "Ollama: manifest /m", "gpt-oss:20b"],
  ] as const)("%j is told in a line, and has a name in a server", (resolved, line, name) => {
    expect(resolution({ ...base, ...resolved, tried: [] })).toMatch(line);
    expect(servedName({ ...base, ...resolved, tried: [] })).toBe(name);
  });
});
