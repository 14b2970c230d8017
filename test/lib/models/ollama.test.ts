import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listIn } from "../../../lib/models/list.js";
import { resolveIn } from "../../../lib/models/resolve.js";
import { failure } from "../../support/failure.js";
import { ggufStart, ModelHome, sha256 } from "../../support/model-home.js";

let home: ModelHome;
beforeEach(() => {
  home = new ModelHome();
});
afterEach(() => home.remove());

const resolve = (name: string) => resolveIn(home.places, name);
const weights = ggufStart("gptoss");
const layers = [
  { kind: "model", content: weights },
  { kind: "template", content: "{{ .Prompt }}" },
  { kind: "license", content: "Apache" },
  { kind: "params", content: "{}" },
];
const blob = () => home.path(".ollama/models/blobs", `sha256-${sha256(weights)}`);
const library = "registry.ollama.ai/library";

describe("a model of Ollama", () => {
  it("is found by name and tag, which is latest by default", async () => {
    const manifest = home.ollama(`${library}/gpt-oss/20b`, home.manifest(layers));
    expect(await resolve("gpt-oss:20b")).toMatchObject({
      path: blob(),
      source: "ollama",
      details: { manifest, tag: "20b", digest: `sha256:${sha256(weights)}` },
    });
    expect((await failure(resolve("gpt-oss"))).code).toBe("MODEL_NOT_FOUND");
    const latest = home.ollama(`${library}/gpt-oss/latest`, home.manifest(layers));
    expect((await resolve("gpt-oss")).details).toMatchObject({ manifest: latest, tag: "latest" });
  });

  it("is found by a namespace, by a host with a port, and in any case", async () => {
    const manifest = home.manifest(layers);
    home.ollama("registry.ollama.ai/me/Mine/Q8_0", manifest);
    home.ollama("hf.co/me/mine-GGUF/latest", manifest);
    home.ollama("localhost:5000/me/mine/latest", manifest);
    home.ollama("10.0.0.1%3A5000/me/mine/latest", manifest, "manifests-v2");
    for (const name of ["me/mine:q8_0", "hf.co/me/mine-GGUF", "localhost:5000/me/mine", "10.0.0.1:5000/me/mine"]) {
      expect(await resolve(name)).toMatchObject({ path: blob(), source: "ollama" });
    }
  });

  it("is found in both folders under both names of the registry, as it is listed", async () => {
    const manifest = home.manifest(layers);
    for (const folder of ["manifests", "manifests-v2"]) {
      for (const [host, tag] of [
        ["ollama.com", "new"],
        ["registry.ollama.ai", "old"],
      ] as const) {
        home.ollama(`${host}/library/gpt-oss/${folder}-${tag}`, manifest, folder);
        expect((await resolve(`gpt-oss:${folder}-${tag}`)).path).toBe(blob());
      }
    }
    const listed = (await listIn(home.places)).map(({ name }) => name);
    for (const name of listed) expect((await resolve(name)).path).toBe(blob());
    expect(listed).toHaveLength(4);
  });

  it("of the released ones has the short names, after the other places", async () => {
    home.ollama(`${library}/gpt-oss/20b`, home.manifest(layers));
    for (const name of ["20b", "gpt-oss-20b"]) expect((await resolve(name)).path).toBe(blob());
    const { message } = await failure(resolve("openai/gpt-oss-20b"));
    expect(message).toMatch(/did you mean gpt-oss:20b, or should "gpt-oss pull openai\/gpt-oss-20b" get it\?$/);
    const { path: found } = await resolve("20b");
    const other = home.snapshot("openai/gpt-oss-20b", { "config.json": "{}", "model.safetensors": "" });
    expect([found, (await resolve("20b")).path]).toEqual([blob(), other]);
  });

  it("of version 0.40 has a link to its manifest, and the registry's newer name", async () => {
    const link = home.ollamaV2("ollama.com/library/gpt-oss/20b", home.manifest(layers));
    expect(await resolve("gpt-oss:20b")).toMatchObject({ path: blob(), details: { manifest: link } });
    expect((await resolve("ollama.com/library/gpt-oss:20b")).path).toBe(blob());
    expect((await resolve("registry.ollama.ai/library/gpt-oss:20b")).path).toBe(blob());
  });

  it("whose newer link leads nowhere has the older manifest", async () => {
    const link = home.path(".ollama/models/manifests-v2/ollama.com/library/gpt-oss/20b");
    mkdirSync(path.dirname(link), { recursive: true });
    symlinkSync("../../../../blobs/sha256-nothing", link);
    expect((await failure(resolve("gpt-oss:20b"))).code).toBe("MODEL_NOT_FOUND");
    const manifest = home.ollama(`${library}/gpt-oss/20b`, home.manifest(layers));
    expect((await resolve("gpt-oss:20b")).details.manifest).toBe(manifest);
  });

  it("is found in the second folder, too", async () => {
    home.ollama(`${library}/gpt-oss/20b`, home.manifest(layers));
    const places = { ...home.places, ollama: [home.path("none"), ...home.places.ollama] };
    const { path: found, tried } = await resolveIn(places, "gpt-oss:20b");
    expect(found).toBe(blob());
    expect(tried.at(-1)).toMatchObject({ source: "ollama", place: home.path("none"), outcome: "no such folder" });
  });
});

describe("a list of manifests", () => {
  const list = (...manifests: object[]) => ({
    schemaVersion: 2,
    mediaType: "application/vnd.ollama.manifest.list.v2+json",
    manifests,
  });
  const reference = (manifest: object, runner: string) => ({
    mediaType: "application/vnd.docker.distribution.manifest.v2+json",
    digest: `sha256:${sha256(JSON.stringify(manifest))}`,
    runner,
  });
  const mlx = { schemaVersion: 2, layers: [] };

  it("leads to the weights for Ollama, or for llama.cpp, that are on this machine", async () => {
    const ollama = home.manifest(layers);
    const converted = home.manifest([{ kind: "model", content: "converted" }]);
    home.blob(JSON.stringify(ollama));
    home.ollamaV2("ollama.com/library/gpt-oss/20b", list(reference(mlx, "mlx"), reference(ollama, "ggml")));
    expect((await resolve("gpt-oss:20b")).path).toBe(blob());
    home.ollamaV2("ollama.com/library/gpt-oss/120b", list(reference(mlx, "mlx"), { ...converted, runner: "llamacpp" }));
    expect((await resolve("gpt-oss:120b")).details.digest).toBe(`sha256:${sha256("converted")}`);
  });

  it("passes over a manifest that is not on this machine", async () => {
    const converted = home.manifest([{ kind: "model", content: "converted" }]);
    home.blob(JSON.stringify(converted));
    const children = [reference(home.manifest(layers), "ollama"), reference(converted, "llamacpp")];
    home.ollamaV2("ollama.com/library/gpt-oss/20b", list(...children));
    expect((await resolve("gpt-oss:20b")).details.digest).toBe(`sha256:${sha256("converted")}`);
  });

  it("passes over what is no manifest", async () => {
    const odd = [null, 1, "manifest", [], { runner: {} }] as object[];
    home.ollama(`${library}/gpt-oss/20b`, list(...odd, home.manifest(layers)));
    expect((await resolve("gpt-oss:20b")).path).toBe(blob());
    const manifest = home.ollama(`${library}/gpt-oss/120b`, list(...odd));
    expect(await failure(resolve("gpt-oss:120b"))).toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining(`${manifest}: expected weights for Ollama or llama.cpp`),
    });
  });

  it("for MLX only is refused", async () => {
    const manifest = home.ollama(`${library}/gpt-oss/20b`, list(reference(mlx, "mlx")));
    expect(await failure(resolve("gpt-oss:20b"))).toMatchObject({
      code: "UNSUPPORTED",
      message: `${manifest}: expected weights for Ollama or llama.cpp on this machine, found runners: mlx`,
    });
  });
});

describe("a manifest that cannot be used", () => {
  const model = { kind: "model", content: "weights" };
  it.each([
    ["an adapter", [model, { kind: "adapter", content: "a" }], "found an adapter; load the model below it"],
    ["a projector", [model, { kind: "projector", content: "p" }], "found a projector for images"],
    ["two layers of weights", [model, { kind: "model", content: "more" }], "expected one layer of weights, found 2"],
    [
      "a layer for each tensor",
      [{ kind: "tensor", content: "t" }],
      "found one for each tensor, as Ollama keeps models for MLX",
    ],
    [
      "no weights",
      [{ kind: "params", content: "{}" }],
      "found none; a model of Ollama's cloud has no weights on this machine",
    ],
  ])("with %s is refused by what it has", async (_, layers, message) => {
    const file = home.ollama(`${library}/gpt-oss/20b`, home.manifest(layers));
    const error = await failure(resolve("gpt-oss:20b"));
    expect(error).toMatchObject({ code: "UNSUPPORTED", field: "model" });
    expect(error.message).toContain(`${file}: `);
    expect(error.message).toContain(message);
  });

  it.each([
    ["is empty", "", "found other text"],
    ["is cut", '{"layers":[{"mediaType":', "found other text"],
    ["is null", "null", "found other text"],
    ["is a list", "[]", "found other text"],
    ["has no layers", "{}", "found no list of layers"],
    ["has an empty layer", '{"layers":[null]}', "found the layer null"],
    [
      "has a path for a digest",
      '{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"../../etc/passwd","size":1}]}',
      "found the layer {",
    ],
    [
      "has a size in words",
      `{"layers":[{"mediaType":"m","digest":"sha256:${"a".repeat(64)}","size":"1"}]}`,
      "found the layer {",
    ],
  ])("because it %s is damaged", async (_, text, message) => {
    const file = home.write(`.ollama/models/manifests/${library}/gpt-oss/20b`, text);
    const error = await failure(resolve("gpt-oss:20b"));
    expect(error.code).toBe("MODEL_FORMAT");
    expect(error.message).toContain(`${file}: expected a manifest of Ollama, ${message}`);
    expect(error.message).toMatch(/"ollama pull" with the model's name repairs it$/);
  });

  it("because it is too long is damaged", async () => {
    home.write(`.ollama/models/manifests/${library}/gpt-oss/20b`, " ".repeat(5 * 2 ** 20));
    expect((await failure(resolve("gpt-oss:20b"))).message).toContain("found longer than 4194304 bytes");
  });

  it("because it is a pipe or a folder is none", async () => {
    mkdirSync(home.path(`.ollama/models/manifests/${library}/gpt-oss/20b`), { recursive: true });
    execFileSync("mkfifo", [home.path(`.ollama/models/manifests/${library}/gpt-oss/120b`)]);
    for (const name of ["gpt-oss:20b", "gpt-oss:120b"]) {
      expect((await failure(resolve(name))).code).toBe("MODEL_NOT_FOUND");
    }
  });
});

describe("weights that are not complete", () => {
  const refusal = async (spoil: () => void) => {
    home.ollama(`${library}/gpt-oss/20b`, home.manifest(layers));
    spoil();
    const { code, message } = await failure(resolve("gpt-oss:20b"));
    return `${code}: ${message.replace(blob(), "BLOB")}`;
  };
  const told = (found: string) =>
    `MODEL_NOT_FOUND: The model gpt-oss:20b of Ollama is not complete: expected ${weights.length} bytes in BLOB, ` +
    `found ${found}; "ollama pull gpt-oss:20b" loads it again`;

  it("are named with what was found", async () => {
    expect(await refusal(() => unlinkSync(blob()))).toBe(told("nothing"));
    expect(await refusal(() => truncateSync(blob(), 10))).toBe(told("10 bytes of it"));
    expect(await refusal(() => renameSync(blob(), `${blob()}-partial`))).toBe(told("nothing"));
    home.remove();
    expect(
      await refusal(() => {
        unlinkSync(blob());
        mkdirSync(blob());
      }),
    ).toBe(told("a folder"));
  });
});

describe("Ollama's folder", () => {
  it("that is a file has no model", async () => {
    home.write(".ollama/models", "");
    expect((await failure(resolve("gpt-oss:20b"))).message).toContain(`in Ollama (${home.places.ollama[0]}: a file)`);
  });

  it("is left as it was", async () => {
    home.ollama(`${library}/gpt-oss/20b`, home.manifest(layers));
    const listing = () => execFileSync("find", [home.root, "-printf", "%p %s %T@\n"], { encoding: "utf8" });
    const before = listing();
    for (const name of ["gpt-oss:20b", "20b", "nothing", "gpt-oss"]) await resolve(name).catch(() => {});
    expect(listing()).toBe(before);
    writeFileSync(home.path("new"), "");
    expect(listing()).not.toBe(before);
  });
});
