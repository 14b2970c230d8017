import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { huggingFaceCache, lmStudioModels, ollamaModels, userCacheFolder } from "../../../lib/models/places.js";
import { ModelHome } from "../../support/model-home.js";

describe("the Hugging Face cache", () => {
  const all = { HF_HUB_CACHE: "/a", HUGGINGFACE_HUB_CACHE: "/b", HF_HOME: "/c", XDG_CACHE_HOME: "/d" };
  const { HF_HUB_CACHE: _, ...second } = all;
  const { HUGGINGFACE_HUB_CACHE: __, ...third } = second;

  it.each([
    ["HF_HUB_CACHE before all others", all, "/a"],
    ["HUGGINGFACE_HUB_CACHE, its older name", second, "/b"],
    ["HF_HOME", third, "/c/hub"],
    ["XDG_CACHE_HOME", { XDG_CACHE_HOME: "/d" }, "/d/huggingface/hub"],
    ["the home folder", {}, "/home/ada/.cache/huggingface/hub"],
    ["an empty variable as none", { HF_HUB_CACHE: "", HF_HOME: "" }, "/home/ada/.cache/huggingface/hub"],
    ["~ for the home folder", { HF_HOME: "~/models" }, "/home/ada/models/hub"],
    [
      "variables within variables",
      { HF_HUB_CACHE: "$DISK/hf/$USER/$NO", DISK: "/disk", USER: "ada" },
      "/disk/hf/ada/$NO",
    ],
    ["a name that only begins with ~", { HF_HUB_CACHE: "/x/~ada" }, "/x/~ada"],
  ])("takes %s", (_, env, expected) => {
    expect(huggingFaceCache(env, "/home/ada")).toBe(expected);
  });

  it("is unknown for an account without a home, unless a variable names it", () => {
    expect(huggingFaceCache({}, null)).toBeNull();
    expect(huggingFaceCache({ HF_HOME: "/c" }, null)).toBe("/c/hub");
  });
});

describe("LM Studio's folder", () => {
  let home: ModelHome;
  beforeEach(() => {
    home = new ModelHome();
  });
  afterEach(() => home.remove());

  it("is in ~/.lmstudio, or in the older folder where that exists", async () => {
    expect(await lmStudioModels(home.root)).toBe(home.path(".lmstudio/models"));
    mkdirSync(home.path(".cache/lm-studio"), { recursive: true });
    expect(await lmStudioModels(home.root)).toBe(home.path(".cache/lm-studio/models"));
  });

  it("is where the pointer says, before both", async () => {
    mkdirSync(home.path(".cache/lm-studio"), { recursive: true });
    home.write(".lmstudio-home-pointer", "/disk/studio\n");
    expect(await lmStudioModels(home.root)).toBe("/disk/studio/models");
    home.write(".lmstudio-home-pointer", " \n");
    expect(await lmStudioModels(home.root)).toBe(home.path(".cache/lm-studio/models"));
  });

  it("does not wait for a pipe in place of its files", async () => {
    mkdirSync(home.path(".lmstudio"));
    execFileSync("mkfifo", [home.path(".lmstudio-home-pointer"), home.path(".lmstudio/settings.json")]);
    expect(await lmStudioModels(home.root)).toBe(home.path(".lmstudio/models"));
  });

  it("is where its settings say", async () => {
    home.write(".lmstudio/settings.json", JSON.stringify({ downloadsFolder: "/disk/models" }));
    expect(await lmStudioModels(home.root)).toBe("/disk/models");
    for (const other of ['{ "downloadsFolder": 5 }', '{ "downloadsFolder": "here" }', "{", "null"]) {
      home.write(".lmstudio/settings.json", other);
      expect(await lmStudioModels(home.root)).toBe(home.path(".lmstudio/models"));
    }
  });
});

describe("Ollama's folders", () => {
  it("are that of the user and that of the service, or the one that is named", () => {
    const service = "/usr/share/ollama/.ollama/models";
    expect(ollamaModels({}, "/home/ada")).toEqual(["/home/ada/.ollama/models", service]);
    expect(ollamaModels({}, null)).toEqual([service]);
    expect(ollamaModels({ OLLAMA_MODELS: "/disk/ollama" }, "/home/ada")).toEqual(["/disk/ollama"]);
    expect(ollamaModels({ OLLAMA_MODELS: ' "/disk/ollama" ' }, "/home/ada")).toEqual(["/disk/ollama"]);
  });
});

describe("the user's cache folder", () => {
  it("is the one of native code", () => {
    expect(userCacheFolder({ XDG_CACHE_HOME: "/cache" })).toBe("/cache/gpt-oss-node");
    expect(userCacheFolder({ XDG_CACHE_HOME: "relative" })).toMatch(/\.cache\/gpt-oss-node$/);
    expect(path.isAbsolute(userCacheFolder({})!)).toBe(true);
  });
});
