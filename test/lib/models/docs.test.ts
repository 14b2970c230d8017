import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytesText } from "../../../lib/cli/output.js";
import { inspectCheckpoint } from "../../../lib/inspect.js";
import { resolveIn } from "../../../lib/models/resolve.js";
import { sourceWords } from "../../../lib/models/source-words.js";
import { knownModels } from "../../../lib/pull/known-models.js";
import { failure } from "../../support/failure.js";
import { pages } from "../../support/markdown.js";
import { ggufStart, ModelHome, sha256 } from "../../support/model-home.js";

/** docs/models.md: its tables hold. */

const { text } = pages.find(({ name }) => name === "docs/models.md")!;
const rowsAfter = (heading: string) => {
  const section = text.slice(text.indexOf(heading));
  const [table = ""] = /(^\|.*\n)+/m.exec(section) ?? [];
  const cells = (row: string) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  return table.trim().split("\n").slice(2).map(cells);
};

describe("the table of names", () => {
  let home: ModelHome;
  const checkpoint = { "config.json": "{}", "model.safetensors": "weights" };
  const weights = ggufStart("gptoss");
  const model = [{ kind: "model", content: weights }];
  const large = "unsloth/gpt-oss-120b-GGUF";
  const small = "lmstudio-community/gpt-oss-20b-GGUF";
  /** What each name leads to: a path within the home, or the code of the error. */
  const outcomes = new Map<string, string>();

  beforeAll(() => {
    home = new ModelHome();
    const main = home.snapshot("openai/gpt-oss-20b", checkpoint);
    const files = ["gpt-oss-120b-F16.gguf", "gpt-oss-120b-Q8_0.gguf"] as const;
    const two = home.snapshot(large, { [files[0]]: weights, [files[1]]: weights });
    const one = home.lmStudio(small, { "gpt-oss-20b-MXFP4.gguf": weights });
    const merged = home.lmStudio("me/merged", checkpoint);
    home.ollama("registry.ollama.ai/library/gpt-oss/20b", home.manifest(model));
    home.ollama("hf.co/me/tuned/latest", home.manifest(model));
    const blob = home.path(".ollama/models/blobs", `sha256-${sha256(weights)}`);
    for (const name of ["openai/gpt-oss-20b", "openai/gpt-oss-20b@main", "20b", "gpt-oss-20b"])
      outcomes.set(name, main);
    outcomes.set("gpt-oss-120b", "INVALID_ARGUMENT");
    outcomes.set(`${large}:Q8_0`, path.join(two, files[1]));
    outcomes.set(`${large}:gpt-oss-120b-F16.gguf`, path.join(two, files[0]));
    outcomes.set(small, path.join(one, "gpt-oss-20b-MXFP4.gguf"));
    outcomes.set("merged", merged);
    for (const name of ["gpt-oss:20b", "hf.co/me/tuned"]) outcomes.set(name, blob);
    for (const name of ["gpt-oss", "openai/gpt-oss-120b", "./20b"]) outcomes.set(name, "MODEL_NOT_FOUND");
  });
  afterAll(() => home.remove());

  const rows = rowsAfter("### Names").map(([name = "", taken = ""]) => [name.replaceAll("`", ""), taken] as const);

  it("has a row for each of these names, and for demo", () => {
    expect(rows.map(([name]) => name)).toEqual([...outcomes.keys(), "demo"]);
  });

  it.each(rows)("%s: %s", async (name, taken) => {
    const expected = outcomes.get(name);
    if (/^[A-Z_]+$/.test(expected ?? "")) {
      expect((await failure(resolveIn(home.places, name))).code).toBe(expected);
      expect(taken).toContain(`refused with \`${expected}\``);
      return;
    }
    const { path: found, source } = await resolveIn(home.places, name);
    if (expected !== undefined) expect(found).toBe(expected);
    expect(taken).toContain(sourceWords(source));
  });
});

describe("the table of needs", () => {
  it.each(rowsAfter("## What a model needs"))("%s: %s", async (name, disk, memory, gpu, context) => {
    const known = knownModels.find(({ repository }) => repository === `openai/${name}`)!;
    expect(bytesText(known.downloadBytes)).toBe(disk);
    expect(known.memory).toMatch(`${memory!.replace(" GB", " GB of memory")}`);
    expect(gpu).toMatch(name === "gpt-oss-20b" ? "16 GB" : "80 GB");
    const { model } = await inspectCheckpoint(`synthetic:${name!.slice("gpt-oss-".length)}`);
    const full = model.layerTypes.filter((type) => type === "full").length;
    const values = 2 * full * model.kvHeads * model.headDim * model.maxContext;
    const told = (bytes: number) => `${((values * bytes) / 1e9).toFixed(1)} GB`;
    expect(context).toBe(`${told(2)} as bf16, ${told(4)} as float32`);
  });
});
