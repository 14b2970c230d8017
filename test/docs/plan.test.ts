import { readFileSync } from "node:fs";
import path from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { planCommand } from "../../lib/cli/commands/plan.js";
import { planModel } from "../../lib/index.js";
import { packageRoot } from "../../lib/package-root.js";
import { shellCommands } from "../support/shell-words.js";

/** The numbers of docs/plan.md and docs/gpu.md are those of the planner. */

const read = (name: string) => readFileSync(path.join(packageRoot, name), "utf8");

/** The cells of the rows of a table, without its heading. */
function rowsAfter(text: string, heading: string): string[][] {
  const lines = text.slice(text.indexOf(heading)).split("\n").slice(2);
  const rows = lines.slice(
    0,
    lines.findIndex((line) => !line.startsWith("|")),
  );
  return rows.map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

beforeEach(() => {
  vi.stubEnv("GPT_OSS_BACKEND", "");
  return () => vi.unstubAllEnvs();
});

describe("docs/plan.md", () => {
  const text = read("docs/plan.md");
  const rows = rowsAfter(text, "| model | backend | free |");

  it("has rows for both models and all backends", () => {
    expect(new Set(rows.map(([model, backend]) => `${model} ${backend}`)).size).toBe(6);
  });

  it.each(rows.map((row) => [row.slice(0, 4).join(" "), row] as const))(
    "counts as the planner does: %s",
    async (_, row) => {
      const [model, backend, memory, dtype, ...counts] = row;
      const isa = backend === "cpu" && { isa: "scalar", threads: 8 };
      const plan = await planModel(model!, { memory: memory!, backend: backend as "cpu" | "cuda" | "metal", ...isa });
      const capacity = plan.backends[0]!.capacities.find((one) => one.dtype === dtype);
      expect(capacity!.conversations.map(({ count }) => String(count))).toEqual(counts);
    },
  );

  const errors = rowsAfter(text, "| what is wrong | code |");

  it.each(errors.map(([line, code]) => [line!.replaceAll("`", ""), code!.replaceAll("`", "")] as const))(
    "has the right code: %s",
    async (line, code) => {
      const thrown = await runPlan(shellCommands(line)[0]!.slice(2));
      expect(thrown).toMatchObject({ name: "GptOssError", code });
    },
  );
});

/** Runs the command in this process, without its output, and returns its error. */
async function runPlan(words: string[]): Promise<unknown> {
  const silent = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  try {
    return await planCommand()
      .exitOverride()
      .parseAsync(words, { from: "user" })
      .then(
        () => null,
        (error: unknown) => error,
      );
  } finally {
    silent.mockRestore();
  }
}

describe("docs/gpu.md", () => {
  it("has the plan of the 120b on a card of 80 GB", async () => {
    const rows = rowsAfter(read("docs/gpu.md"), "| KV cache | it holds |");
    expect(rows).toHaveLength(2);
    for (const [cache, tokens, conversations] of rows) {
      const dtype = /dtype: "(\w+)"/.exec(cache!)![1] as "bf16" | "fp8";
      const { backends } = await planModel("120b", { memory: "84.5GB", backend: "cuda", kvCache: { dtype } });
      const { memory, capacities } = backends[0]!;
      expect(tokens).toBe(`${memory.kvTokens.toLocaleString("en-US")} tokens`);
      const counts = capacities.find((one) => one.dtype === dtype)!.conversations;
      expect(conversations).toBe(String(counts.find(({ contextLength }) => contextLength === 131072)!.count));
    }
  });
});
