import { mkdirSync, symlinkSync, unlinkSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { adapterIn } from "../../../lib/models/adapter.js";
import { listIn } from "../../../lib/models/list.js";
import { resolveIn } from "../../../lib/models/resolve.js";
import { failure } from "../../support/failure.js";
import { commitOf, goldenFiles, ModelHome, sha256 } from "../../support/model-home.js";
import { large, setting } from "../../support/pull.js";

const pulling = setting();
let home: ModelHome;
beforeEach(() => {
  home = new ModelHome();
});
afterEach(() => home.remove());

const files = { "adapter_config.json": "{}", "adapter_model.safetensors": "weights" };
const find = (name: string) => adapterIn(home.places.huggingFace, name);

describe("the name of an adapter", () => {
  it("is a repository in the Hugging Face cache, in any case, and at a revision", async () => {
    const first = home.snapshot("me/support", files, { digit: "a", refs: ["v1"] });
    const second = home.snapshot("me/support", files, { digit: "b" });
    for (const name of ["me/support", "Me/SUPPORT", "https://huggingface.co/me/support"]) {
      expect(await find(name)).toBe(second);
    }
    for (const revision of ["v1", commitOf("a")]) expect(await find(`me/support@${revision}`)).toBe(first);
  });

  it("is a repository that gpt-oss pull has fetched", async () => {
    pulling.hub.add("me/support", { ...files, "adapter_model.safetensors": large(2500, 1) });
    const { path: folder } = await pulling.pull({ repository: "me/support" });
    expect(await adapterIn(pulling.cache, "me/support")).toBe(folder);
  });

  it("is a path where one exists, and where it can be nothing else", async () => {
    home.snapshot("test/golden", files);
    expect(await find("test/golden")).toBe(path.resolve("test/golden"));
    for (const name of ["/nowhere", "./me/support", "support", "a/b/c"]) {
      expect(await find(name)).toBe(path.resolve(name));
    }
  });

  it("that the cache does not have is refused with the command that gets it", async () => {
    home.snapshot("me/other", files);
    const error = await failure(find("me/support"));
    expect(error.code).toBe("MODEL_NOT_FOUND");
    expect(error.message).toBe(
      "Expected an adapter's folder or its repository in the Hugging Face cache, found nothing at " +
        `${path.resolve("me/support")}, and no me/support (${home.places.huggingFace}: no such repository); ` +
        '"gpt-oss pull me/support" gets it if Hugging Face has it',
    );
    expect((await failure(adapterIn(null, "me/support"))).message).toContain("(this account has no home folder)");
    expect((await failure(adapterIn("/nowhere", "me/support"))).message).toContain("(/nowhere: no such folder)");
    expect(await failure(find("me/other@v2"))).toMatchObject({
      code: "MODEL_NOT_FOUND",
      message: expect.stringContaining("the revision v2 of me/other is not in the cache"),
    });
    const long = (await failure(find(`me/${"a".repeat(5000)}`))).message;
    expect(long.length).toBeLessThan(1300);
    expect(long).toMatch(/no such repository\)$/); // the hub has no such name either
    expect(await failure(find("me/other:Q8_0"))).toMatchObject({ code: "INVALID_ARGUMENT", field: "adapters" });
  });
});

describe("an adapter where a model is expected", () => {
  const refused = async (name: string) => {
    const { code, field, message } = await failure(resolveIn(home.places, name));
    return `${code} ${field}: ${message}`;
  };
  const sentence = (folder: string) =>
    `MODEL_FORMAT model: Expected a model in ${folder}, found a LoRA adapter; name the model that it was trained on, ` +
    "and give this folder to --adapter (in a program: adapters)";
  /** Writes an adapter with this config; a text is its whole file. */
  const adapter = (config: unknown) => {
    const text = typeof config === "string" ? config : JSON.stringify(config);
    const name = `adapter-${sha256(text).slice(0, 8)}`;
    home.write(`${name}/adapter_model.safetensors`, "weights");
    return path.dirname(home.write(`${name}/adapter_config.json`, text));
  };

  it("is refused by path and by name, with what to do", async () => {
    const cached = home.snapshot("me/support", files);
    expect(await refused("me/support")).toBe(sentence(cached));
    for (const file of [cached, ...Object.keys(files).map((name) => path.join(cached, name))]) {
      expect(await refused(file)).toBe(sentence(cached));
    }
  });

  it("is described by its config, with the command that uses it", async () => {
    const golden = path.resolve("test/golden/adapters/a.peft");
    expect(await refused(golden)).toContain(
      "found a LoRA adapter of rank 4 for q_proj, k_proj, v_proj, o_proj, mlp.router.weight, mlp.experts.gate_up_proj, " +
        "mlp.experts.down_proj; name the model",
    );
    for (const [base, model] of [
      ["openai/gpt-oss-120b", "openai/gpt-oss-120b"],
      ["unsloth/gpt-oss-20b-BF16", "openai/gpt-oss-20b"],
      ["me/tuned", "me/tuned"],
    ]) {
      const folder = adapter({ r: 8, target_modules: ["q_proj"], base_model_name_or_path: base });
      const message = await refused(folder);
      expect(message).toContain(`found a LoRA adapter of rank 8 for q_proj, trained on ${base}; name the model`);
      expect(message).toContain(`(in a program: adapters): "gpt-oss chat ${model} --adapter ${folder}"`);
    }
  });

  it("is refused in the same way where its config says nothing of use", async () => {
    const odd = { target_modules: [1, "a b", "\u001b[2J", "x".repeat(999)], base_model_name_or_path: "../../x y" };
    for (const config of ["", "{", null, [], "x", { r: "x", target_modules: "all-linear" }, { r: 1.5 }, odd]) {
      const folder = adapter(config);
      expect(await refused(folder)).toBe(sentence(folder));
    }
  });

  it("is in no list, and hides no model", async () => {
    home.snapshot("me/gpt-oss-support", files);
    home.lmStudio("me/gpt-oss-support", goldenFiles("c"));
    home.lmStudio("me/gpt-oss-other", files);
    expect((await listIn(home.places)).map(({ name, source }) => `${name} ${source}`)).toEqual([
      "me/gpt-oss-support lm-studio",
    ]);
    expect(await resolveIn(home.places, "me/gpt-oss-support")).toMatchObject({ source: "lm-studio" });
  });

  it("is a model where its folder also has the weights of one", async () => {
    const folder = home.lmStudio("me/both", { ...goldenFiles("c"), ...files });
    expect((await resolveIn(home.places, folder)).path).toBe(folder);
    const gguf = home.lmStudio("me/gguf", { ...files, "x.gguf": "GGUF" });
    expect((await resolveIn(home.places, gguf)).path).toBe(gguf);
  });
});

describe("a download that has not come to the weights", () => {
  it("is listed as incomplete, as loading calls it", async () => {
    const mine = { "config.json": '{ "model_type": "gpt_oss" }' };
    home.snapshot("me/tuned", mine);
    home.snapshot("openai/gpt-oss-20b", {}, { refs: [] });
    home.snapshot("u/gpt-oss-20b-GGUF", {}, { refs: [] });
    home.snapshot("me/llama", { "config.json": '{ "model_type": "llama" }' });
    home.snapshot("me/something", {});
    const bare = home.repository("openai/gpt-oss-120b");
    mkdirSync(path.join(bare, "blobs"), { recursive: true });
    const found = await listIn(home.places);
    expect(found.map(({ name, format, problem, path: file }) => [name, format, problem, file].join(" | "))).toEqual([
      "me/tuned | safetensors | incomplete: weights missing | ",
      "openai/gpt-oss-120b | safetensors | incomplete: weights missing | ",
      "openai/gpt-oss-20b | safetensors | incomplete: weights missing | ",
      "u/gpt-oss-20b-GGUF | gguf | incomplete: weights missing | ",
    ]);
    for (const { name } of found) {
      expect((await failure(resolveIn(home.places, name))).message).toContain(" is not complete: ");
    }
  });

  it("is not listed beside a whole snapshot of other architecture", async () => {
    const folder = home.snapshot("me/gpt-oss-chat", {
      "config.json": '{ "model_type": "llama" }',
      "model.safetensors": "weights",
    });
    expect(await listIn(home.places)).toEqual([]);
    unlinkSync(path.join(folder, "model.safetensors"));
    symlinkSync("nowhere", path.join(folder, "model.safetensors"));
    expect(await listIn(home.places)).toEqual([]);
  });
});
