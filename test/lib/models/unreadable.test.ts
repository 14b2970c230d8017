import { mkdirSync, symlinkSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { unreadableIn } from "../../../lib/models/unreadable.js";
import { goldenFiles, ModelHome } from "../../support/model-home.js";

let home: ModelHome;
beforeEach(() => {
  home = new ModelHome();
});
afterEach(() => home.remove());

const found = async () => (await unreadableIn(home.places)).map(({ source, path: folder }) => `${source} ${folder}`);

/** No user can read a loop of links, root included. */
function loop(link: string): string {
  mkdirSync(path.dirname(link), { recursive: true });
  symlinkSync(path.basename(link), link);
  return link;
}

describe("folders that cannot be read", () => {
  it("are none where everything can be read, or is not there", async () => {
    expect(await unreadableIn({ huggingFace: null, lmStudio: null, ollama: [] })).toEqual([]);
    expect(await found()).toEqual([]);
    home.snapshot("openai/gpt-oss-20b", goldenFiles("c"));
    home.lmStudio("me/merged", goldenFiles("c"));
    home.write(".lmstudio/models/readme.txt", "a file is no fault");
    home.ollama("registry.ollama.ai/library/gpt-oss/20b", home.manifest([{ kind: "model", content: "x" }]));
    expect(await found()).toEqual([]);
  });

  it("are the places themselves", async () => {
    loop(home.places.huggingFace!);
    home.write(".lmstudio/models", "a file");
    loop(home.places.ollama[0]!);
    expect(await unreadableIn(home.places)).toEqual([
      { source: "huggingface-cache", path: home.places.huggingFace, problem: "a loop of symbolic links" },
      { source: "lm-studio", path: home.places.lmStudio, problem: "something that is not a folder" },
      { source: "ollama", path: home.places.ollama[0], problem: "a loop of symbolic links" },
    ]);
  });

  it("are those below, as far as models lie there", async () => {
    const repository = loop(home.repository("me/a"));
    const snapshots = loop(path.join(home.repository("me/b"), "snapshots"));
    const publisher = loop(path.join(home.places.lmStudio!, "me"));
    const library = loop(path.join(home.places.ollama[0]!, "manifests/registry.ollama.ai/library"));
    const blobs = loop(path.join(home.places.ollama[0]!, "blobs"));
    loop(path.join(home.places.huggingFace!, "datasets--me--c"));
    loop(path.join(home.places.lmStudio!, ".internal"));
    expect(await found()).toEqual([
      `huggingface-cache ${repository}`,
      `huggingface-cache ${snapshots}`,
      `lm-studio ${publisher}`,
      `ollama ${blobs}`,
      `ollama ${library}`,
    ]);
  });

  it("are 64 at most", async () => {
    for (let i = 0; i < 70; i++) loop(home.repository(`me/${i}`));
    expect(await found()).toHaveLength(64);
  });
});
