import { mkdirSync, symlinkSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { listIn } from "../../../lib/models/list.js";
import { resolveIn } from "../../../lib/models/resolve.js";
import { failure } from "../../support/failure.js";
import { goldenFiles, ModelHome } from "../../support/model-home.js";

let home: ModelHome;
beforeEach(() => {
  home = new ModelHome();
});
afterEach(() => home.remove());

const resolve = (name: string) => resolveIn(home.places, name);
const community = "lmstudio-community/gpt-oss-20b-GGUF";

describe("a model of LM Studio", () => {
  it("is found by publisher and repository, by the repository, or by a short name", async () => {
    const folder = home.lmStudio(community, { "gpt-oss-20b-MXFP4.gguf": "GGUF" });
    const found = { path: path.join(folder, "gpt-oss-20b-MXFP4.gguf"), source: "lm-studio" };
    const details = { repository: community, file: "gpt-oss-20b-MXFP4.gguf" };
    for (const name of [community, community.toUpperCase(), "gpt-oss-20b-gguf", "gpt-oss-20b", "20b"]) {
      expect(await resolve(name)).toMatchObject({ ...found, details });
    }
    expect(await resolve(`${community}:MXFP4`)).toMatchObject(found);
    expect(await resolve(`${community}/gpt-oss-20b-MXFP4.gguf`)).toMatchObject(found);
  });

  it("in MLX's or Hugging Face's layout is a folder", async () => {
    const folder = home.lmStudio("mlx-community/gpt-oss-20b-MXFP4-Q8", goldenFiles("a"));
    expect(await resolve("gpt-oss-20b-mxfp4-q8")).toMatchObject({ path: folder, source: "lm-studio" });
  });

  it("is searched after the Hugging Face cache", async () => {
    home.lmStudio("me/mine", goldenFiles("a"));
    const folder = home.snapshot("me/mine", goldenFiles("a"));
    expect((await resolve("me/mine")).path).toBe(folder);
  });

  it("without a file of it says what is missing", async () => {
    const folder = home.lmStudio("me/mine", { ...goldenFiles("c"), "config.json": "{}" });
    mkdirSync(path.join(folder, "extra"));
    home.lmStudio("me/parts", { "x-00002-of-00002.gguf": "GGUF" });
    const { code, message } = await failure(resolve("me/parts"));
    expect({ code, message }).toEqual({
      code: "MODEL_NOT_FOUND",
      message:
        `The model me/parts of LM Studio is not complete: ${path.join(home.places.lmStudio!, "me/parts")} lacks ` +
        "x-00001-of-00002.gguf; load it again in LM Studio",
    });
    expect((await resolve("me/mine")).path).toBe(folder);
  });

  it("of several files or publishers has to be named", async () => {
    home.lmStudio("a/x-GGUF", { "x-Q8_0.gguf": "GGUF", "x-MXFP4.gguf": "GGUF" });
    expect(await failure(resolve("x"))).toMatchObject({
      code: "INVALID_ARGUMENT",
      message:
        'Expected one of a/x-GGUF:x-MXFP4.gguf, a/x-GGUF:x-Q8_0.gguf for the model but received "a/x-GGUF" (string)',
    });
    home.lmStudio("a/y", goldenFiles("a"));
    home.lmStudio("b/y", goldenFiles("a"));
    expect((await failure(resolve("y"))).message).toBe(
      'Expected one of a/y, b/y for the model but received "y" (string)',
    );
  });

  it("has no revisions", async () => {
    home.lmStudio("me/mine", goldenFiles("a"));
    expect((await failure(resolve("me/mine@main"))).message).toContain(
      `(${home.places.lmStudio}: it keeps no revisions)`,
    );
  });

  it("is found beside links that lead nowhere or in a circle", async () => {
    const folder = home.lmStudio("me/mine", goldenFiles("a"));
    symlinkSync("loop", path.join(home.places.lmStudio!, "loop"));
    symlinkSync("nowhere", path.join(home.places.lmStudio!, "gone"));
    symlinkSync("..", path.join(home.places.lmStudio!, "me/up"));
    expect((await resolve("mine")).path).toBe(folder);
    expect(await listIn(home.places)).toMatchObject([{ name: "me/mine", problem: null }]);
  });

  it("that is an empty folder or a file is none", async () => {
    mkdirSync(path.join(home.places.lmStudio!, "me/empty"), { recursive: true });
    home.write(".lmstudio/models/me/file", "");
    home.write(".lmstudio/models/readme.txt", "");
    for (const name of ["me/empty", "me/file", "readme.txt"]) {
      expect((await failure(resolve(name))).code).toBe("MODEL_NOT_FOUND");
    }
  });
});
